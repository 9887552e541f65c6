"""Writer schemas by id: a registry over HTTP, folders, and the package that carries them."""

from __future__ import annotations

import json
import pickle
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme

from stream.clock import ManualClock
from stream.codec.lookup import SchemaAway, SchemaUnknown
from stream.codec.lsst import LsstPackageSchemas
from stream.codec.registry import ASK_AGAIN, TIMEOUT, RegistrySchemas
from stream.codec.schema import WriterSchema
from stream.codec.sources import FolderSchemas, open_schemas
from stream.errors import Held, Poison, Transient, Wrong

TEXT = '{"type": "record", "name": "R", "fields": [{"name": "f", "type": "int"}]}'
NAMING_B = '{"type": "record", "name": "R", "fields": [{"name": "f", "type": "x.B"}]}'


class Registry:
    """A registry on loopback that a test fills, empties and breaks."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.schemas: dict[int, Any] = {}
        self.subjects: dict[str, Any] = {}
        self.status = 0
        self.asked: list[str] = []
        self.authorization: list[str | None] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                registry.authorization.append(self.headers.get("authorization"))
                status, body = registry.answer(self.path)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        if self.status:
            return self.status, b"{}"
        if path == "/subjects":
            return 200, json.dumps([f"subject-{i}" for i in self.schemas]).encode()
        found = self.subjects.get(path) or self.schemas.get(int(path.rpartition("/")[2]))
        if found is None:
            return 404, b'{"error_code": 40403, "message": "Schema not found"}'
        return 200, found if isinstance(found, bytes) else json.dumps(found).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def schemas(registry: Registry, clock: ManualClock) -> Iterator[RegistrySchemas]:
    made = RegistrySchemas(registry.url, clock=clock)
    yield made
    made.close()


def test_an_id_is_asked_for_once(registry: Registry, schemas: RegistrySchemas) -> None:
    registry.schemas[7] = {"schema": TEXT}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(schemas.get, [7] * 40))
    assert {schema.id for schema in found} == {7}
    assert found[0].text == TEXT
    assert registry.asked == ["/schemas/ids/7"]


def test_an_id_that_a_filled_registry_denies_is_unknown_and_asked_for_again_later(
    registry: Registry, schemas: RegistrySchemas, clock: ManualClock
) -> None:
    registry.schemas[1] = {"schema": TEXT}
    for _ in range(3):
        with pytest.raises(SchemaUnknown) as unknown:
            schemas.get(7)
    assert unknown.value.code == "schema_unknown"
    assert isinstance(unknown.value, Held)
    assert registry.asked == ["/schemas/ids/7", "/subjects"]
    registry.schemas[7] = {"schema": TEXT}
    clock.advance(ASK_AGAIN)
    assert schemas.get(7).id == 7


def test_an_empty_registry_is_away_and_what_it_gave_before_stays(
    registry: Registry, schemas: RegistrySchemas, clock: ManualClock
) -> None:
    registry.schemas[7] = {"schema": TEXT}
    schemas.get(7)
    registry.schemas.clear()
    clock.advance(ASK_AGAIN)
    assert schemas.get(7).id == 7
    with pytest.raises(SchemaAway, match="empty") as away:
        schemas.get(8)
    assert away.value.code == "registry_away"
    assert isinstance(away.value, Transient)


@pytest.mark.parametrize("status", [301, 401, 429, 500, 503])
def test_a_registry_in_trouble_is_away(registry: Registry, schemas: RegistrySchemas, status: int) -> None:
    registry.status = status
    with pytest.raises(SchemaAway, match=f"{status} {HTTPStatus(status).phrase} .* lets this user read it"):
        schemas.get(7)


def test_a_registry_that_is_down_is_away_and_not_asked_for_every_message(
    registry: Registry, schemas: RegistrySchemas, clock: ManualClock
) -> None:
    registry.status = 500
    for schema_id in range(100):
        with pytest.raises(SchemaAway):
            schemas.get(schema_id)
    assert len(registry.asked) == 1
    clock.advance(ASK_AGAIN)
    registry.status = 0
    registry.schemas[7] = {"schema": TEXT}
    assert schemas.get(7).id == 7


@pytest.mark.parametrize("status", [500, 0], ids=["away", "unknown"])
def test_an_answer_that_was_long_in_coming_stands_as_long_as_any(
    registry: Registry, schemas: RegistrySchemas, clock: ManualClock, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RegistrySchemas._request

    def slow(self: RegistrySchemas, path: str) -> tuple[int, Any]:
        clock.advance(TIMEOUT)
        return real(self, path)

    monkeypatch.setattr(RegistrySchemas, "_request", slow)
    registry.status, registry.schemas[9] = status, {"schema": TEXT}
    with pytest.raises((SchemaAway, SchemaUnknown)) as first:
        schemas.get(7)
    asked = len(registry.asked)
    with pytest.raises(type(first.value)):
        schemas.get(7)
    assert len(registry.asked) == asked


def test_what_was_seen_survives_a_restart_while_the_registry_is_down(registry: Registry, tmp_path: Path) -> None:
    registry.schemas[7] = {"schema": TEXT}
    RegistrySchemas(registry.url, tmp_path).get(7)
    url = registry.url
    registry.status = 500
    again = RegistrySchemas(url, tmp_path)
    assert again.get(7) == WriterSchema.of(TEXT, 7)
    with pytest.raises(SchemaAway):
        again.get(8)
    (kept,) = tmp_path.glob("*/*.avsc")
    assert kept.name == "7.avsc"


def test_a_spoilt_file_in_the_cache_is_fetched_again(registry: Registry, tmp_path: Path) -> None:
    registry.schemas[7] = {"schema": TEXT}
    RegistrySchemas(registry.url, tmp_path).get(7)
    (kept,) = tmp_path.glob("*/*.avsc")
    kept.write_text(TEXT[:20])
    assert RegistrySchemas(registry.url, tmp_path).get(7).text == TEXT
    assert kept.read_text() == TEXT


def test_two_registries_share_a_cache_folder_without_mixing_their_ids(registry: Registry, tmp_path: Path) -> None:
    other = Registry()
    try:
        registry.schemas[7], other.schemas[7] = {"schema": TEXT}, {"schema": '"int"'}
        RegistrySchemas(registry.url, tmp_path).get(7)
        assert RegistrySchemas(other.url, tmp_path).get(7).text == '"int"'
    finally:
        other.close()


def test_a_cache_that_cannot_be_written_is_done_without(registry: Registry, tmp_path: Path) -> None:
    registry.schemas[7] = {"schema": TEXT}
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert RegistrySchemas(registry.url, blocked).get(7).id == 7


def test_a_port_that_nobody_listens_on_is_away() -> None:
    server = Registry()
    server.close()
    with pytest.raises(SchemaAway, match="cannot be reached"):
        RegistrySchemas(server.url).get(7)


def test_a_schema_whose_type_or_references_are_null_is_avro(registry: Registry, schemas: RegistrySchemas) -> None:
    registry.schemas[7] = {"schema": TEXT, "schemaType": None, "references": None}
    assert schemas.get(7) == WriterSchema.of(TEXT, 7)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"schema": '{"type": "array", "items": "null"}'}, "no bytes"),
        ({"schema": "syntax", "schemaType": "PROTOBUF"}, "PROTOBUF"),
        ({"schema": TEXT, "references": [{"name": "a", "subject": "b"}]}, "a subject and a version each"),
        ({"schema": TEXT, "references": 7}, "a subject and a version each"),
        ({"schema": TEXT, "references": [{"subject": "\ud800", "version": 1}]}, "a subject and a version each"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_for_ever(
    registry: Registry, schemas: RegistrySchemas, answer: dict[str, Any], reason: str
) -> None:
    registry.schemas[7] = answer
    for _ in range(2):
        with pytest.raises(Poison, match=reason) as refused:
            schemas.get(7)
    assert refused.value.code == "schema_refused"
    assert registry.asked == ["/schemas/ids/7"]


def refers(*subjects: str) -> list[dict[str, Any]]:
    return [{"name": "as the registry pleases", "subject": subject, "version": 2} for subject in subjects]


def fields(*kinds: Any) -> list[dict[str, Any]]:
    return [{"name": f"f{i}", "type": kind} for i, kind in enumerate(kinds)]


def fill_with_references(registry: Registry) -> WriterSchema:
    """Register a schema that needs two subjects, and give the same schema whole."""
    band = {"type": "enum", "name": "Band", "namespace": "a.b", "symbols": ["g", "r"]}
    inner = {"type": "record", "name": "a.Inner", "fields": fields("a.b.Band", ["null", "a.b.Band"])}
    outer = {"type": "record", "name": "Outer", "namespace": "a", "fields": fields("Inner", ["null", "a.b.Band"])}
    array = {"type": "array", "items": "Inner"}
    outer["fields"].append({"name": "more", "type": array})  # type: ignore[attr-defined]
    registry.schemas[7] = {"schema": json.dumps(outer), "references": refers("a/in ner", "band")}
    registry.subjects["/subjects/a%2Fin%20ner/versions/2"] = {"schema": json.dumps(inner), "references": refers("band")}
    registry.subjects["/subjects/band/versions/2"] = {"schema": json.dumps(band)}
    written = {**inner, "fields": fields(band, ["null", "a.b.Band"])}
    return WriterSchema.of(
        json.dumps({**outer, "fields": [*fields(written, ["null", "a.b.Band"]), outer["fields"][2]]})
    )


def test_a_schema_that_refers_to_other_subjects_is_made_whole(registry: Registry, tmp_path: Path) -> None:
    expected = fill_with_references(registry)
    schema = RegistrySchemas(registry.url, tmp_path).get(7)
    assert schema.fingerprint == expected.fingerprint
    assert len(registry.asked) == 3, "each subject once"
    registry.status = 500
    assert RegistrySchemas(registry.url, tmp_path).get(7) == schema, "kept whole across a restart"


def test_a_subject_that_is_missing_makes_the_schema_unknown_until_it_is_there(
    registry: Registry, schemas: RegistrySchemas, clock: ManualClock
) -> None:
    expected = fill_with_references(registry)
    band = registry.subjects.pop("/subjects/band/versions/2")
    with pytest.raises(SchemaUnknown):
        schemas.get(7)
    registry.subjects["/subjects/band/versions/2"] = band
    clock.advance(ASK_AGAIN)
    assert schemas.get(7).fingerprint == expected.fingerprint


def test_references_are_bounded_and_may_not_go_round_in_circles(registry: Registry, schemas: RegistrySchemas) -> None:
    for i in range(70):
        text = json.dumps({"type": "record", "name": f"R{i}", "fields": fields(f"R{i + 1}")})
        registry.subjects[f"/subjects/s{i}/versions/2"] = {"schema": text, "references": refers(f"s{i + 1}")}
    registry.schemas[7] = {"schema": '"R0"', "references": refers("s0")}
    with pytest.raises(Poison, match="more than 64 other subjects"):
        schemas.get(7)
    last = {"type": "record", "name": "R40", "fields": fields("int")}
    registry.subjects["/subjects/s40/versions/2"] = {"schema": json.dumps(last)}
    registry.schemas[8] = {"schema": '"R0"', "references": refers("s0")}
    with pytest.raises(Poison, match="nested more than 32"):
        schemas.get(8)
    again = {"type": "record", "name": "R3", "fields": fields("R0")}
    registry.subjects["/subjects/s3/versions/2"] = {"schema": json.dumps(again), "references": refers("s0")}
    registry.schemas[9] = {"schema": '"R0"', "references": refers("s0")}
    with pytest.raises(Poison, match="contains itself"):
        schemas.get(9)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"schema": 7}', b"[" * 100_000, b" " * 17_000_000])
def test_an_answer_that_makes_no_sense_is_away(registry: Registry, schemas: RegistrySchemas, body: bytes) -> None:
    registry.schemas[7] = body
    with pytest.raises(SchemaAway, match=r"with no JSON of a registry|gives no text"):
        schemas.get(7)


def test_user_and_password_are_sent_and_never_shown(registry: Registry) -> None:
    registry.schemas[7] = {"schema": TEXT}
    url = registry.url.replace("http://", "http://me:geheim@")
    schemas = RegistrySchemas(url)
    schemas.get(7)
    assert registry.authorization == ["Basic bWU6Z2VoZWlt"]
    registry.status = 500
    with pytest.raises(SchemaAway) as away:
        schemas.get(8)
    assert "geheim" not in str(away.value)
    assert "geheim" not in repr(schemas)


@pytest.mark.parametrize("user", ["me:ge/heim", "me:ge#heim", "me:ge?heim", "me:80/geheim", "me:ge\theim"])
def test_a_password_that_is_not_encoded_is_wrong_and_not_shown(user: str) -> None:
    with pytest.raises(Wrong, match="%2F") as wrong:
        RegistrySchemas(f"http://{user}@registry.example.org:8081")
    assert wrong.value.code == "schema_source"
    assert "ge" not in str(wrong.value).replace("registry", "")


@pytest.mark.parametrize("host", ["registry..example.org", "xn--", f"{'a' * 64}.org"])
def test_a_host_that_can_be_none_is_wrong(host: str) -> None:
    with pytest.raises(Wrong) as wrong:
        RegistrySchemas(f"http://{host}:8081")
    assert wrong.value.code == "schema_source"


def test_a_registry_is_trusted_by_the_authority_that_its_url_names(tmp_path: Path) -> None:
    authority, tls, pem = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tmp_path / "ca.pem"
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(pem))
    registry = Registry(tls)
    try:
        registry.schemas[7] = {"schema": TEXT}
        with pytest.raises(SchemaAway, match="certificate verify failed"):
            RegistrySchemas(registry.url).get(7)
        assert RegistrySchemas(f"{registry.url}?ssl_ca={pem}", tmp_path / "kept").get(7).text == TEXT
        assert registry.asked == ["/schemas/ids/7"]
        registry.status = 503
        assert RegistrySchemas(registry.url, tmp_path / "kept").get(7).text == TEXT
    finally:
        registry.close()


def test_files_for_tls_are_refused_where_nothing_would_be_encrypted() -> None:
    with pytest.raises(Wrong, match="is no https one"):
        RegistrySchemas(f"http://registry.example.org/?ssl_ca={trustme.__file__}")


@pytest.mark.parametrize("option", ["ssl_ca=/absent.pem", "ssl_cert=/absent.pem", "ca=/absent.pem", "ssl_ca=a@b"])
def test_options_of_an_address_that_cannot_be_are_wrong(option: str) -> None:
    with pytest.raises(Wrong) as wrong:
        RegistrySchemas(f"https://registry.example.org:8081/?{option}")
    assert wrong.value.code == "schema_source"


def test_an_address_in_version_6_is_taken() -> None:
    with pytest.raises(SchemaAway, match=r"http://\[::1\]:1 cannot be reached"):
        RegistrySchemas("http://[::1]:1").get(7)


def test_errors_can_be_sent_to_another_process() -> None:
    for error in (SchemaAway("down"), SchemaUnknown(7, "there")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.code) == (type(error), str(error), error.code)


def test_a_folder_gives_schemas_by_file_name_and_finds_new_ones(tmp_path: Path) -> None:
    folder = FolderSchemas(tmp_path)
    with pytest.raises(SchemaAway):
        folder.get(7)
    (tmp_path / "7.avsc").write_text(TEXT)
    assert folder.get(7) == WriterSchema.of(TEXT, 7)
    with pytest.raises(SchemaUnknown):
        folder.get(8)
    (tmp_path / "8.avsc").write_text('"int"')
    assert folder.get(8).text == '"int"'
    (tmp_path / "9.avsc").write_bytes(b"\xff")
    with pytest.raises(SchemaAway):
        folder.get(9)


def test_a_file_that_is_not_all_there_yet_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "1/1").mkdir(parents=True)
    (tmp_path / "1/1/a.alert.avsc").write_text(NAMING_B)
    whole = {"7.avsc": TEXT, "1/1/x.B.avsc": '{"type": "fixed", "name": "x.B", "size": 4}'}
    for name, schema_id in (("7.avsc", 7), ("1/1/x.B.avsc", 101)):
        for part in ("", TEXT[:20]):
            (tmp_path / name).write_text(part)
            with pytest.raises(SchemaAway, match=f"{name} is not JSON"):
                FolderSchemas(tmp_path).get(schema_id)
        (tmp_path / name).write_bytes(TEXT.encode("utf-16"))
        with pytest.raises(SchemaAway, match=f"{name} is not UTF-8"):
            FolderSchemas(tmp_path).get(schema_id)
        (tmp_path / name).write_text(whole[name])
        assert FolderSchemas(tmp_path).get(schema_id).id == schema_id


@pytest.mark.parametrize("stray", [b"just notes", b"\xff\x00", b"[" * 300 + b"]" * 300])
def test_a_file_that_a_tree_does_not_name_may_be_anything(stray: bytes, tmp_path: Path) -> None:
    (tmp_path / "1/1").mkdir(parents=True)
    (tmp_path / "1/1/a.alert.avsc").write_text(NAMING_B)
    (tmp_path / "1/1/x.B.avsc").write_text('{"type": "fixed", "name": "x.B", "size": 4}')
    for name in ("._x.B.avsc", "notes.avsc"):
        (tmp_path / "1/1" / name).write_bytes(stray)
    assert FolderSchemas(tmp_path).get(101).id == 101


def test_the_package_carries_every_version_and_a_folder_of_the_same_shape_too() -> None:
    package = LsstPackageSchemas()
    assert {700, 704, 800, 900, 1000, 1100, 1101} <= set(package.ids())
    found = {schema_id: package.get(schema_id).fingerprint for schema_id in package.ids()}
    assert len(set(found.values())) == len(found)
    again = open_schemas(str(package.folder))
    assert {schema_id: again.get(schema_id).fingerprint for schema_id in found} == found
    with pytest.raises(SchemaUnknown):
        package.get(1)


@pytest.mark.parametrize(
    ("main", "beside", "reason"),
    [
        (NAMING_B, '{"type": "fixed", "name": "x.C", "size": 4}', "no such type: 'x.B'"),
        (NAMING_B, NAMING_B.replace("R", "x.B"), "x.B contains itself"),
        (NAMING_B, '["int"]', "no such type: 'x.B'"),
        (NAMING_B, "[" * 100_000, "nested more than"),
        ("7", "7", "a type is int"),
    ],
)
def test_a_tree_whose_files_do_not_fit_is_refused(tmp_path: Path, main: str, beside: str, reason: str) -> None:
    folder = tmp_path / "1/1"
    folder.mkdir(parents=True)
    (folder / "a.alert.avsc").write_text(main)
    (folder / "x.B.avsc").write_text(beside)
    with pytest.raises(Poison, match=reason) as refused:
        FolderSchemas(tmp_path).get(101)
    assert refused.value.code == "schema_refused"


def test_a_tree_may_have_a_union_at_its_top(tmp_path: Path) -> None:
    folder = tmp_path / "1/1"
    folder.mkdir(parents=True)
    (folder / "a.alert.avsc").write_text(f'["null", {NAMING_B}]')
    (folder / "x.B.avsc").write_text('{"type": "fixed", "name": "x.B", "size": 4}')
    whole = NAMING_B.replace('"x.B"', '{"type": "fixed", "name": "x.B", "size": 4}')
    assert FolderSchemas(tmp_path).get(101).fingerprint == WriterSchema.of(f'["null", {whole}]').fingerprint


def test_a_setting_opens_the_source_that_it_names(tmp_path: Path, registry: Registry) -> None:
    assert isinstance(open_schemas(None), LsstPackageSchemas)
    assert isinstance(open_schemas("lsst-alert-packet"), LsstPackageSchemas)
    assert isinstance(open_schemas(str(tmp_path)), FolderSchemas)
    assert isinstance(open_schemas(registry.url), RegistrySchemas)
    for wrong in (str(tmp_path / "none"), "lsst", "http://"):
        with pytest.raises(Wrong) as error:
            open_schemas(wrong)
        assert error.value.code == "schema_source"
