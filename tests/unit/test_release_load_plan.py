"""How a release's files become contributions and super-transactions, and what is refused before anything is sent."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doubles import release_world

from consumers.release.description import felis_file
from consumers.release.load.measuring import DECLARED, Measured
from consumers.release.load.plan import Cutting, Plan, plan
from consumers.release.load.progress import Lines
from consumers.release.load.registering import differences, request, wanted
from consumers.release.load.release import PartitionedTable, Release, read
from consumers.release.manifest import ChunkFile, Dialect, Manifest
from consumers.release.settings import ReleaseSettings
from consumers.release.table import Database, Follows, Role, Table
from stream.clock import ManualClock
from stream.config import describe_settings
from stream.errors import Wrong

PROJECT = Path(__file__).resolve().parents[2]


def release_of(files: list[ChunkFile]) -> Release:
    table = release_world.database().table("Object")
    manifest = Manifest("Object", "f", release_world.LAYOUT, Dialect(), 0, files=tuple(files))
    return Release(
        Path("/r"), Database("dr1", (table,)), release_world.LAYOUT, {"Object": PartitionedTable(table, "O", manifest)}
    )


def chunk(number: int, size: int, *, overlap: bool = False, piece: int = 0) -> ChunkFile:
    return ChunkFile(
        number, overlap, f"{number}{overlap}{piece}.txt", size // 10, size, f"{number}{overlap}{piece}{size}"
    )


def planned(files: list[ChunkFile], **more: int) -> Plan:
    return plan(release_of(files), Cutting(**more))


def test_every_file_is_in_one_transaction_and_a_chunk_is_never_cut() -> None:
    rng = np.random.default_rng(5)
    files = [
        chunk(number, int(rng.integers(1, 50)) * 10, overlap=overlap, piece=piece)
        for number in range(300)
        for overlap in (False, True)
        for piece in range(int(rng.integers(1, 4)))
    ]
    found = planned(files, least_transaction_bytes=2_000, transaction_bytes=3_000, merge_bytes=300)
    told = sorted(part.sha256 for one in found.transactions for each in one.contributions for part in each.parts)
    assert told == sorted(file.sha256 for file in files)
    homes = [each.chunk for one in found.transactions for each in {c.chunk: c for c in one.contributions}.values()]
    assert len(homes) == len(set(homes)) == 300
    assert max(one.bytes for one in found.transactions) <= 3_000
    for one in found.transactions:
        for each in one.contributions:
            assert len(each.parts) == 1 or each.bytes <= 300


def test_a_large_table_gets_ten_transactions_and_a_small_one_one() -> None:
    large = [chunk(number, 10 << 20) for number in range(100)]
    assert len(planned(large).transactions) == 10
    assert len(planned([chunk(number, 1000) for number in range(100)]).transactions) == 1
    most = planned(large, transaction_bytes=20 << 20, least_transaction_bytes=1)
    assert {len(one.contributions) for one in most.transactions} == {2}


def test_the_key_of_a_transaction_is_its_content_and_not_where_it_lies() -> None:
    files = [chunk(1, 100), chunk(2, 100)]
    key = planned(files).transactions[0].key
    assert planned([replace(file, path="elsewhere" + file.path) for file in files]).transactions[0].key == key
    assert planned([files[0], replace(files[1], sha256="other")]).transactions[0].key != key


def test_empty_files_are_not_sent() -> None:
    assert [each.chunk for each in planned([chunk(1, 0), chunk(2, 100)]).transactions[0].contributions] == [2]


def test_tables_that_do_not_belong_together_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "r"
    release_world.made(folder, rng, rows=4)
    assert list(read(folder).tables) == ["Object", "Source", "Filter"]
    shutil.copytree(folder / "Source", folder / "Again")
    refused(folder, "release_mixed", "has table Source twice")
    shutil.rmtree(folder / "Again")
    (folder / "Source/manifest.jsonl").rename(folder / "kept")
    refused(folder, "no_manifest", "Source")
    (folder / "kept").rename(folder / "Source/manifest.jsonl")
    head, *rest = (folder / "Source/manifest.jsonl").read_text().splitlines()
    for old, new, code in (
        ('"fingerprint": "', '"fingerprint": "0', "release_stale"),
        (": 85", ": 86", "release_mixed"),
    ):
        (folder / "Source/manifest.jsonl").write_text("\n".join([head.replace(old, new), *rest]))
        refused(folder, code, "Source")
    (folder / "Source/manifest.jsonl").write_text("\n".join([head, *rest]))
    shutil.rmtree(folder / "Object")
    refused(folder, "release_mixed", "Source follows Object")
    refused(tmp_path / "nothing", "no_release", "nothing")


def test_a_description_that_all_tables_have_is_read_once(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(felis_file, "read", lambda path, reading=felis_file.read: seen.append(path) or reading(path))
    release_world.made(tmp_path, rng)
    assert len(read(tmp_path).tables) == 3 and len(seen) == 1


def refused(folder: Path, code: str, word: str) -> None:
    with pytest.raises(Wrong) as error:
        read(folder)
    assert error.value.code == code and word in error.value.message


def test_a_match_table_is_registered_with_both_directors_and_its_flags() -> None:
    object_table = release_world.database().table("Object")
    match = Table(
        "Match",
        Role.MATCH,
        (object_table.columns[0], replace(object_table.columns[0], name="refId", source="refId")),
        follows=(Follows("Object", "objectId"), Follows("Ref", "refId")),
    )
    body = request("dr1", match, 0.01)
    assert [each["name"] for each in body["schema"]][2:] == ["chunkId", "subChunkId", "partitioningFlags"]
    told = {name: body[name] for name in ("director_table", "director_key", "director_table2", "director_key2")}
    assert told == {
        "director_table": "Object", "director_key": "objectId", "director_table2": "Ref", "director_key2": "refId",
    }  # fmt: skip
    assert (body["flag"], body["ang_sep"], body["is_partitioned"]) == ("partitioningFlags", 0.01, 1)


def test_types_that_hold_the_same_are_the_same_and_others_are_told() -> None:
    table = wanted("dr1", release_world.database().table("Object"), 0.01)
    spelt = {"objectId": "bigint(20) NOT NULL", "flux": "float default NULL", "chunkId": "int(11) NOT NULL"}
    same = replace(table, columns=tuple((name, spelt.get(name, kind.lower())) for name, kind in table.columns))
    assert differences(table, same) == []
    other = replace(same, director_key="x", columns=(*same.columns[:-1], ("more", "INT")))
    assert differences(table, other) == [
        "column subChunkId is not there", "column more is there only", "director_key is 'x' there and 'objectId' here",
    ]  # fmt: skip
    assert differences(table, replace(table, columns=table.columns[::-1])) == ["its columns are in another order"]


def test_lines_of_progress_have_rate_and_time_left() -> None:
    clock, out = ManualClock(), io.StringIO()
    shown = Lines(out, every_s=10, clock=clock)
    shown.begins(1000, 100_000_000, 10)
    clock.advance(5)
    shown.under_way(0.5, "a", 20_000_000)
    clock.advance(5)
    shown.under_way(1.0, "a", 20_000_000)
    shown.done(200, 20_000_000)
    clock.advance(10)
    shown.under_way(0.5, "b", 20_000_000)
    assert out.getvalue().splitlines()[-1] == "200 of 1,000 rows committed, 30.0 MB loaded, 1.5 MB/s, 47 s left"


def test_every_setting_and_metric_is_on_the_page_of_releases() -> None:
    page = (PROJECT / "docs/release.md").read_text(encoding="utf-8")
    for doc in describe_settings(ReleaseSettings):
        if doc.name != "config":
            assert f"| `{doc.flag}` | `{doc.env}` | {doc.default or ''} | {doc.doc} |" in page
    for name, declared in DECLARED.items():
        assert f"| {name} | {declared.doc} |" in page
    registered = {metric.name for metric in Measured(Lines(), None).registry.collect()}
    assert registered == {name.removesuffix("_total") for name in DECLARED}
