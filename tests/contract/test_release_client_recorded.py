"""The client's requests are those that a live service was seen to take, and it reads the answers that were recorded."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from consumers.release.service import (
    Controller,
    Keys,
    LoadDialect,
    LostAnswer,
    Refused,
    Source,
    Status,
    Timeouts,
    TransactionState,
    Unreachable,
    Wire,
    Worker,
)
from consumers.release.service.transport import Answer, Form, Request
from stream.errors import Fatal, Wrong
from stream.local.ports import free_ports

COMMA = LoadDialect(delimiter=",")
URL = "http://qserv:25081"
FILES = "http://127.0.0.1:25999"
Call = Callable[[Controller, Worker, dict[str, Any]], Awaitable[object]]


def _source(table: str, chunk: int, overlap: bool, *, transaction: int = 1, retries: int | None = None) -> Source:
    return Source(transaction, table, chunk, overlap, COMMA, retries)


def _tsv(transaction: int) -> Source:
    return Source(transaction, "Filter", 0, False, LoadDialect())


def _send(source: Source) -> Call:
    return lambda c, w, r: w.send(source, "x.csv", io.BytesIO(b"1\n"), 2)


def _object(transaction: int) -> Source:
    return _source("Object", 7480, False, transaction=transaction)


CALLS: dict[str, Call] = {
    "001": lambda c, w, r: c.version(),
    "003": lambda c, w, r: c.database("test101"),
    "013": lambda c, w, r: c.databases(),
    "018": lambda c, w, r: c.register_table(_bare(r)),
    "019": lambda c, w, r: c.register_table(_bare(r)),
    "020": lambda c, w, r: c.register_table(_bare(r)),
    "022": lambda c, w, r: c.tables("test101"),
    "023": lambda c, w, r: c.configure("test101", {k: v for k, v in _bare(r).items() if k != "database"}),
    "024": lambda c, w, r: c.configuration("test101"),
    "026": lambda c, w, r: c.begin("test101", {"run": "r1", "batch": 3}),
    "030": lambda c, w, r: c.chunks(1, [7310, 7480]),
    "033": lambda c, w, r: c.chunks(1, []),
    "035": lambda c, w, r: c.regular(1),
    "036": _send(_tsv(1)),
    "045": _send(_object(1)),
    "046": _send(_source("Object", 7480, True)),
    "047": lambda c, w, r: w.load(_source("Object", 7310, True), f"{FILES}/Object/chunk_7310_overlap.txt"),
    "048": lambda c, w, r: w.submit(_source("Source", 7480, False, retries=2), f"{FILES}/Source/chunk_7480.txt"),
    "049": lambda c, w, r: w.contribution(9),
    "051": lambda c, w, r: w.contribution(10),
    "052": lambda c, w, r: w.retry_now(10),
    "055": lambda c, w, r: w.contributions(1),
    "061": lambda c, w, r: c.end(1, abort=False),
    "062": lambda c, w, r: c.end(1, abort=False),
    "083": lambda c, w, r: c.transaction(2, contributions=True),
    "087": lambda c, w, r: c.end(3, abort=True),
    "088": lambda c, w, r: c.transaction(3, counted=True),
    "096": lambda c, w, r: c.register_database("test103", 85, 12, 0.01667),
    "105": lambda c, w, r: w.load(_source("Object", 7310, True, transaction=6), "file:///data/chunk_7310_overlap.txt"),
    "109": lambda c, w, r: w.load(_tsv(6), "file:///data/Filter.csv"),
    "114": lambda c, w, r: c.publish("test103"),
    "094": lambda c, w, r: c.publish("test101"),
    "116": lambda c, w, r: c.create_index(
        "test103", "Source", "IDX_objectId", ["objectId"], overlap=False, comment="test"
    ),
    "120": lambda c, w, r: c.indexes("test103", "Source", overlap=False),
    "121": lambda c, w, r: c.drop_index("test103", "Source", "IDX_objectId", overlap=False),
    "125": lambda c, w, r: c.count_rows("test103", "Object", deploy=True),
    "126": lambda c, w, r: c.row_counts("test103", "Object"),
    "127": lambda c, w, r: c.forget_counts("test103", "Object", deployed_only=True),
    "128": lambda c, w, r: c.rate_scan("test103", "Object", 2),
    "132": lambda c, w, r: c.unpublish("test103"),
    "137": lambda c, w, r: c.delete_table("test103", "Source", published=True),
    "139": lambda c, w, r: c.delete_database("test103", published=True),
    "142": lambda c, w, r: c.delete_database("test104", published=False),
    "155": lambda c, w, r: c.build_director_index("test105", "Object"),
    "157": lambda c, w, r: c.count_rows("test105", "Object", deploy=False),
}
SAYS_MORE = {
    "061": {"context": {"done": True, "run": "r1"}},
    "094": {},
}
"""What a recorded body has that ours leaves out on purpose: a context at the end would replace that of the start."""
ADDS = {
    "094": {"consolidate_secondary_index", "row_counters_deploy_at_qserv"},
    "155": {"unique_primary_key"},
}
"""Fields of the contract that ours says where the recorded one took the default."""
REFUSED = {"052", "062", "094", "155"}


def _bare(recorded: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recorded["request_body"].items() if key != "auth_key"}


@pytest.fixture(scope="module")
def recorded(shared_data: Path) -> dict[str, dict[str, Any]]:
    paths = sorted((shared_data / "qserv/api_recordings").glob("*.json"))
    return {path.name[:3]: json.loads(path.read_text()) for path in paths}


class Answering:
    """Answers whatever comes with what was recorded, and keeps what came."""

    def __init__(self, answer: object, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.seen: list[Request] = []

    async def send(self, request: Request) -> Answer:
        self.seen.append(request)
        return Answer(self.status, json.dumps(self.answer).encode())

    async def close(self) -> None: ...

    def parties(self, keys: Keys | None = None) -> tuple[Controller, Worker]:
        wire = Wire(keys or Keys("replauthkey", "repladminauthkey"), transport=self)
        return Controller(wire, URL), Worker(wire, URL)


async def _form(request: Request) -> list[tuple[str, str | None, str]]:
    """The parts of a form in order: field, file name, content."""
    assert isinstance(request.body, Form)
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    content = b"".join([block async for block in request.body.blocks()])
    assert str(len(content)) == request.headers["Content-Length"]
    parts = BytesParser().parsebytes(head + content).get_payload()
    assert isinstance(parts, list)
    found = []
    for part in parts:
        name = part.get_param("name", header="content-disposition")
        found.append((str(name), part.get_filename(), str(part.get_payload())))
    return found


@pytest.mark.parametrize("number", sorted(CALLS))
async def test_a_request_is_the_recorded_one(number: str, recorded: dict[str, dict[str, Any]]) -> None:
    told = recorded[number]
    answering = Answering(told["response"])
    controller, worker = answering.parties()
    if number in REFUSED:
        with pytest.raises(Refused) as refused:
            await CALLS[number](controller, worker, told)
        assert refused.value.words == told["response"]["error"]
    else:
        await CALLS[number](controller, worker, told)
    (request,) = answering.seen
    assert request.method == told["method"]
    assert (request.url, request.path) == (URL, told["path"])
    assert dict(request.query) == (told["query"] or {})
    wanted = told["request_body"]
    if "file" in (wanted or {}):
        parts = await _form(request)
        assert [name for name, _, _ in parts][-1] == "file" and parts[-1][1]
        assert {name: value for name, _, value in parts[:-1]} == {k: v for k, v in wanted.items() if k != "file"}
        return
    assert request.headers["Content-Type"] == told["request_headers"]["Content-Type"] == "application/json"
    body = json.loads(request.body) if isinstance(request.body, bytes) else None
    if body is not None:
        body = {key: value for key, value in body.items() if key not in ADDS.get(number, ())}
        body |= SAYS_MORE.get(number, {})
    assert body == wanted
    assert json.dumps(body, sort_keys=True) == json.dumps(wanted, sort_keys=True)


async def test_a_contribution_that_loaded_with_warnings_is_told_from_one_without(
    recorded: dict[str, dict[str, Any]],
) -> None:
    controller, _ = Answering(recorded["083"]["response"]).parties()
    found = {each.id: each for each in (await controller.transaction(2, contributions=True)).contributions}
    assert (found[14].status, found[14].num_warnings) == (Status.FINISHED, 0)
    assert (found[19].status, found[19].num_warnings, found[19].rows, found[19].loaded) == (Status.FINISHED, 4, 3, 3)
    assert [each["code"] for each in found[19].warnings] == [1366, 1366, 1366, 1406]
    assert Status.LOAD_FAILED in {each.status for each in found.values()}


async def test_a_failed_reading_says_that_it_can_be_tried_again(recorded: dict[str, dict[str, Any]]) -> None:
    _, worker = Answering(recorded["051"]["response"]).parties()
    found = await worker.contribution(10)
    assert (found.status, found.retry_allowed, found.http_error) == (Status.READ_FAILED, True, 404)


async def test_an_ended_transaction_is_known_by_its_state(recorded: dict[str, dict[str, Any]]) -> None:
    controller, _ = Answering(recorded["088"]["response"]).parties()
    found = await controller.transaction(3, counted=True)
    assert found.state is TransactionState.ABORTED and not found.state.open
    assert found.by_status[Status.FINISHED] == 1


async def test_no_common_version_is_said_with_both(recorded: dict[str, dict[str, Any]]) -> None:
    controller, _ = Answering(recorded["001"]["response"] | {"version": 35}).parties()
    with pytest.raises(Fatal, match=r"version 35 .* 54 to 55") as error:
        await controller.version()
    assert error.value.code == "qserv_version"
    controller, _ = Answering(recorded["029"]["response"]).parties()
    with pytest.raises(Fatal, match="54 to 55") as error:
        await controller.chunks(1, [7310])
    assert error.value.code == "qserv_version"


async def test_a_newer_service_is_spoken_to_in_our_version(recorded: dict[str, dict[str, Any]]) -> None:
    answering = Answering(recorded["001"]["response"] | {"version": 99})
    controller, _ = answering.parties()
    await controller.version()
    answering.answer = recorded["013"]["response"]
    assert await controller.databases() == {"test101": False}
    assert answering.seen[-1].query["version"] == 55


@pytest.mark.parametrize("number", ["004", "005", "039"])
async def test_a_wrong_key_is_the_callers_mistake(number: str, recorded: dict[str, dict[str, Any]]) -> None:
    controller, _ = Answering(recorded[number]["response"]).parties(Keys("wrong-key"))
    with pytest.raises(Wrong) as error:
        await controller.register_database("test101", 85, 12, 0.01667)
    assert error.value.code == "qserv_auth"


async def test_keys_are_shown_nowhere() -> None:
    keys = Keys("the-secret", "the-admin-secret")
    assert "secret" not in repr(keys)
    answer = {"success": 0, "error": "no: auth_key=the-secret admin=the-admin-secret", "error_ext": {}}
    controller, _ = Answering(answer).parties(keys)
    with pytest.raises(Refused) as error:
        await controller.publish("x")
    assert "secret" not in str(error.value)


async def test_the_administrators_key_is_asked_for_before_anything_is_sent() -> None:
    answering = Answering({"success": 1})
    controller, _ = answering.parties(Keys("key"))
    with pytest.raises(Wrong) as error:
        await controller.unpublish("x")
    assert error.value.code == "qserv_no_admin_key" and not answering.seen


@asynccontextmanager
async def listening(
    hear: Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]],
) -> AsyncIterator[str]:
    """A server that gives each head of a request to `hear`, which says whether it takes another."""
    over: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.append(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            while await hear(await reader.readuntil(b"\r\n\r\n"), reader, writer):
                pass
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*(each for each in over if each))


@pytest.mark.parametrize("how", ["closes", "resets", "is late", "answers half"])
async def test_what_lost_its_answer_was_said_once(how: str) -> None:
    heard = []

    async def hear(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        heard.append(head)
        if how == "is late":
            await reader.read()
        if how == "answers half":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()
        if how == "resets":
            writer.transport.abort()
        return False

    async with listening(hear) as url:
        wire = Wire(Keys("key"), timeouts=Timeouts(long_s=0.2))
        with pytest.raises(LostAnswer) as lost:
            await Controller(wire, url).end(1, abort=False)
        await wire.close()
    assert lost.value.code == "qserv_lost_answer" and len(heard) == 1


async def test_what_broke_with_a_kept_connection_is_not_said_again() -> None:
    heard = []

    async def hear(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        heard.append(head[:3])
        if heard[-1] == b"PUT":
            return False
        body = b'{"success": 1, "databases": []}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        return True

    async with listening(hear) as url:
        wire = Wire(Keys("key"))
        controller = Controller(wire, url)
        await controller.databases()
        with pytest.raises(LostAnswer):
            await controller.publish("x")
        await wire.close()
    assert heard == [b"GET", b"PUT"]


async def test_where_nobody_listens_nothing_was_said() -> None:
    wire = Wire(Keys("key"))
    try:
        with pytest.raises(Unreachable):
            await Controller(wire, f"http://127.0.0.1:{free_ports(1)[0]}").end(1, abort=False)
    finally:
        await wire.close()


async def test_what_is_no_ingest_service_is_said_so(recorded: dict[str, dict[str, Any]]) -> None:
    controller, _ = Answering(recorded["129"]["response"], 404).parties()
    with pytest.raises(Fatal) as error:
        await controller.databases()
    assert error.value.code == "qserv_answer"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_a_gateway_says_of_a_service_that_is_busy_or_away_is_no_answer(status: int) -> None:
    controller, _ = Answering("<html>later</html>", status).parties()
    with pytest.raises(LostAnswer, match=f"HTTP {status}"):
        await controller.databases()


@pytest.mark.parametrize("content", [b"", b"\r\n", b'{"success":1,"datab', b"{"])
async def test_a_good_answer_that_is_empty_or_breaks_off_is_none(content: bytes) -> None:
    class Broken(Answering):
        async def send(self, request: Request) -> Answer:
            return Answer(200, content)

    controller, _ = Broken("").parties()
    with pytest.raises(LostAnswer, match="HTTP 200"):
        await controller.end(1, abort=False)


@pytest.mark.parametrize("character", ["|", ";", " "])
def test_a_delimiter_that_the_service_refuses_is_refused_here(character: str) -> None:
    with pytest.raises(Wrong) as error:
        LoadDialect(delimiter=character).fields()
    assert error.value.code == "release_dialect"


def test_a_tab_is_spelt_out() -> None:
    assert LoadDialect().fields() == {}
    assert LoadDialect(",", '"', "\0").fields() == {
        "fields_terminated_by": ",",
        "fields_enclosed_by": '"',
        "fields_escaped_by": r"\0",
    }
