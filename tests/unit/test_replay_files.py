"""Packets from files, folders and archives: which, in what order, as whose visit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import zstandard

from producers.sources.attribution import Place, attribution_by
from producers.sources.files import NO_VISIT, visits_in_files
from producers.sources.opening import Means, open_sources, parse_spec
from producers.sources.packet_files import LARGEST, find_files, read_archive
from stream.codec.lookup import SchemaAway
from stream.codec.registry import RegistrySchemas
from stream.codec.sources import open_schemas
from stream.errors import Wrong
from stream.local.ports import free_ports
from stream.survey import load_survey
from stream.visit import Visit


def attribution(values: Sequence[bytes]) -> list[Place | None]:
    """A packet is ``visit:detector:id:midpoint``; anything else cannot be read."""
    found: list[Place | None] = []
    for value in values:
        parts = value.decode().split(":")
        place = None
        if len(parts) == 4:
            place = Place(float(parts[3]), int(parts[0]), int(parts[1]), int(parts[2]), 20260305)
        found.append(place)
    return found


class MadeNights:
    """Stored nights of one visit each, without packets."""

    def visits(self, night: int) -> Iterator[Visit]:
        return iter([Visit(night, night, (), None, None, iter(()))])

    def segments(self, night: int) -> list[tuple[int, int]]:
        return [(7, 0)]

    def oldest(self, night: int) -> int | None:
        return None


def archive(path: Path, members: dict[str, bytes]) -> Path:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, value in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            tar.addfile(info, io.BytesIO(value))
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.compress}
    compress = next((one for end, one in packed.items() if path.name.endswith(end)), bytes)
    path.write_bytes(compress(whole.getvalue()))
    return path


def taken(visits: Sequence[Visit] | object) -> list[tuple[int, list[bytes]]]:
    return [(visit.visit, [alert.value for alert in visit.alerts]) for visit in visits]  # type: ignore[attr-defined]


def test_files_are_grouped_by_visit_in_the_order_of_time_with_their_counts(tmp_path: Path) -> None:
    packets = {"a": b"9:1:1:60002", "b": b"8:1:2:60001", "c": b"9:2:3:60002", "d": b"9:1:4:60002", "e": b"9:1:4:60002"}
    for name, value in packets.items():
        (tmp_path / f"{name}.wire").write_bytes(value)
    (tmp_path / "notes.txt").write_text("not a packet")
    visits = list(visits_in_files([tmp_path], attribution))
    assert [(each.visit, each.counts, each.detectors, each.night) for each in visits] == [
        (8, {1: 1}, (1,), 20260305),
        (9, {1: 2, 2: 1}, (1, 2), 20260305),
    ]
    assert [alert.value for alert in visits[1].alerts] == [packets[name] for name in "acde"]


def test_alerts_carry_their_place_in_headers(tmp_path: Path) -> None:
    (tmp_path / "a.avro").write_bytes(b"9:2:77:60002")
    (visit,) = visits_in_files([tmp_path / "a.avro"], attribution)
    (alert,) = visit.alerts
    assert alert.headers == (("visit", b"9"), ("detector", b"2"), ("diaSourceId", b"77"))
    assert alert.key is None


def test_what_cannot_be_read_is_sent_last_and_of_no_visit(tmp_path: Path) -> None:
    (tmp_path / "a.wire").write_bytes(b"garbage")
    (tmp_path / "b.wire").write_bytes(b"9:1:1:60002")
    assert taken(visits_in_files([tmp_path], attribution)) == [(9, [b"9:1:1:60002"]), (NO_VISIT, [b"garbage"])]


def test_without_a_survey_everything_is_of_no_visit(tmp_path: Path) -> None:
    (tmp_path / "a.wire").write_bytes(b"1")
    archive(tmp_path / "n.tar.gz", {"b.avro": b"2"})
    assert taken(visits_in_files([tmp_path], None)) == [(NO_VISIT, [b"1"]), (NO_VISIT, [b"2"])]


@pytest.mark.parametrize("name", ["n.tar.gz", "n.tgz", "n.tar", "n.tar.bz2", "n.txz", "n.tar.zst"])
def test_an_archive_is_sent_in_its_order_visit_after_visit(tmp_path: Path, name: str) -> None:
    members = {
        "night/2.avro": b"8:1:1:60001",
        "night/readme.txt": b"no packet",
        "night/1.avro": b"8:1:2:60001",
        "night/3.avro": b"9:1:3:60002",
        "night/4.avro": b"8:1:4:60001",
    }
    visits = visits_in_files([archive(tmp_path / name, members)], attribution)
    assert taken(visits) == [
        (8, [b"8:1:1:60001", b"8:1:2:60001"]),
        (9, [b"9:1:3:60002"]),
        (8, [b"8:1:4:60001"]),
    ]


def test_an_archive_is_read_as_it_is_sent(tmp_path: Path) -> None:
    path = archive(tmp_path / "n.tar", {f"{n}.wire": b"x" * 100_000 for n in range(50)})
    packets = read_archive(path)
    next(packets)
    path.write_bytes(path.read_bytes()[: 100_000 * 30])
    with pytest.raises(Wrong) as caught:
        list(packets)
    assert caught.value.code == "source_unreadable"


def test_damaged_and_oversized_archives_are_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"not a tar at all" * 100)
    (tmp_path / "a.tar.gz").write_bytes(whole)
    (tmp_path / "b.tar.gz").write_bytes(archive(tmp_path / "w.tar.gz", {"a.wire": b"y" * 5000}).read_bytes()[:-40])
    archive(tmp_path / "c.tar.gz", {"a.wire": bytes(LARGEST + 1)})
    for name, code in (("a", "source_unreadable"), ("b", "source_unreadable"), ("c", "source_oversized")):
        with pytest.raises(Wrong) as caught:
            list(read_archive(tmp_path / f"{name}.tar.gz"))
        assert caught.value.code == code


def zipped(data: bytes, each: int) -> bytes:
    return b"".join(gzip.compress(data[at : at + each]) for at in range(0, len(data), each))


def test_an_archive_that_is_cut_or_goes_on_behind_its_end_is_refused_and_one_of_many_parts_read(tmp_path: Path) -> None:
    members = {f"{number}.wire": b"y" * 512 for number in range(3)}
    whole = archive(tmp_path / "whole.tar", members).read_bytes()
    wrong = gzip.compress(whole)
    damaged = [whole[: 2 * 1024], whole[: 2 * 1024 + 200], whole + whole, gzip.compress(whole[: 2 * 1024])]
    frame = zstandard.ZstdCompressor(write_checksum=True).compress(whole)
    damaged += [frame[:-2], frame[:-4] + bytes(4), frame + b"more", frame * 2]
    for data in (*damaged, gzip.compress(whole) * 2, wrong[:-8] + bytes(4) + wrong[-4:]):
        (tmp_path / "a.tar").write_bytes(data)
        with pytest.raises(Wrong) as caught:
            list(read_archive(tmp_path / "a.tar"))
        assert caught.value.code == "source_unreadable"
    parts = zstandard.compress(whole[:1000]) + zstandard.compress(whole[1000:])
    for data in (whole, zipped(whole, 1024), bz2.compress(whole), lzma.compress(whole), parts, whole + bytes(100_000)):
        (tmp_path / "a.tar").write_bytes(data)
        assert [packet.value for packet in read_archive(tmp_path / "a.tar")] == list(members.values())


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
def test_a_packet_that_an_archive_has_only_as_a_link_is_not_left_out(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "night.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, linked in (("notes.txt", "elsewhere"), ("b.wire", "a.bin")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, linked
            tar.addfile(info)
    with pytest.raises(Wrong, match=r"b\.wire in .* is a link to a\.bin"):
        list(read_archive(path))


def test_packets_that_cannot_be_reached_are_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.wire").write_bytes(b"")
    (tmp_path / "b.txt").symlink_to("nothing")
    assert find_files([tmp_path]) == ([tmp_path / "a.wire"], [])
    (tmp_path / "b.wire").symlink_to("nothing")
    with pytest.raises(Wrong, match="leads nowhere"):
        find_files([tmp_path])
    (tmp_path / "b.wire").unlink()
    scandir = os.scandir

    def closed(path: str) -> object:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(Wrong, match="closed: Permission denied"):
        find_files([tmp_path])
    with pytest.raises(Wrong, match="File name too long"):
        find_files([tmp_path / ("a" * 300)])


def test_a_linked_folder_of_packets_is_named_unless_it_is_read_anyway(tmp_path: Path) -> None:
    night, aside = tmp_path / "night", tmp_path / "aside"
    for folder in (night, night / "first", aside):
        folder.mkdir()
    (night / "first/a.wire").write_bytes(b"")
    (night / "latest").symlink_to("first")
    (night / "more").symlink_to("../aside")
    assert find_files([night]) == ([night / "first/a.wire"], []), "there is nothing of ours in the other folder"
    (aside / "b.wire").write_bytes(b"")
    with pytest.raises(Wrong, match=f"more is a link to {aside}"):
        find_files([night])
    assert find_files([night, aside]) == ([night / "first/a.wire", aside / "b.wire"], [])


def test_a_packet_in_a_folder_that_may_only_be_listed_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.wire").write_bytes(b"")
    found = Path.stat

    def stat(path: Path, **more: bool) -> os.stat_result:
        if path.suffix:
            raise PermissionError(13, "Permission denied", str(path))
        return found(path, **more)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(Wrong, match=r"a\.wire: Permission denied"):
        find_files([tmp_path])


def test_a_registry_that_is_away_ends_the_reading(tmp_path: Path) -> None:
    (tmp_path / "a.wire").write_bytes(b"\0\0\0\0\7x")
    told = attribution_by(load_survey("lsst"), RegistrySchemas(f"http://127.0.0.1:{free_ports(1)[0]}"))
    with pytest.raises(SchemaAway):
        list(visits_in_files([tmp_path], told))


def test_nothing_to_send_is_wrong_use(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(Wrong) as caught:
            find_files([path])
        assert caught.value.code == "source_missing"
    (tmp_path / "big.wire").write_bytes(bytes(LARGEST + 1))
    with pytest.raises(Wrong) as caught:
        list(visits_in_files([tmp_path], attribution))
    assert caught.value.code == "source_oversized"


def test_sources_come_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.wire").write_bytes(b"1:1:1:60001")

    means = Means(attribution=attribution, stored=MadeNights)
    found = open_sources([str(tmp_path), "alertdb:20260305", str(tmp_path / "a.wire")], means)
    assert [visit for visit, _ in taken(found)] == [1, 20260305, 1]


@pytest.mark.parametrize(
    "name",
    ["alertdb:", "alertdb:2026", "alertdb:x2345678", "synthetic:alerts=x", "synthetic:colour=red", "synthetic:3"],
)
def test_sources_that_cannot_be_understood_are_wrong_use(name: str) -> None:
    with pytest.raises(Wrong):
        list(open_sources([name], Means(stored=MadeNights)))


def test_a_stored_night_needs_its_stores() -> None:
    with pytest.raises(Wrong, match="--alertdb"):
        list(open_sources(["alertdb:20260305"], Means()))


def test_a_spec_is_keys_and_values() -> None:
    assert parse_spec("visits=2,alerts=10") == {"visits": "2", "alerts": "10"}
    assert parse_spec("") == {}
    with pytest.raises(Wrong):
        parse_spec("visits=2,visits=3")


def test_made_visits_have_the_size_asked_for() -> None:
    visits = list(open_sources(["synthetic:visits=2,alerts=3,size=62k,seed=5"], Means()))
    assert [visit.expected for visit in visits] == [3, 3]
    sizes = [len(alert.value) for visit in visits for alert in visit.alerts]
    assert len(sizes) == 6
    assert all(40_000 < size < 90_000 for size in sizes)


@pytest.mark.parametrize(("survey", "packets"), [("lsst", 4), ("ztf", 24)])
def test_real_packets_are_told_their_visits(shared_data: Path, survey: str, packets: int) -> None:
    told = attribution_by(load_survey(survey), open_schemas())
    visits = list(visits_in_files([shared_data / survey], told))
    assert all(visit.visit > 0 for visit in visits)
    assert sum(visit.expected or 0 for visit in visits) == packets
    alerts = [alert for visit in visits for alert in visit.alerts]
    files = {path.read_bytes() for path in (shared_data / survey).iterdir()}
    assert {alert.value for alert in alerts} == files
    if survey == "ztf":
        names = {path.stem.encode() for path in (shared_data / survey).iterdir()}
        assert {dict(alert.headers)["diaSourceId"] for alert in alerts} == names
