"""By what a source is known again: everything that would give other messages, or the same in another order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from producers.receipts import Identity
from producers.sources.identity import identities
from producers.sources.opening import Means
from stream.errors import Wrong
from stream.visit import Visit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, value in {"a.wire": b"one", "b.wire": b"two!", "c.tar": b"three"}.items():
        (tmp_path / name).write_bytes(value)
        os.utime(tmp_path / name, ns=(1, 1))
    return tmp_path


def known(folder: Path, survey: str = "") -> Identity:
    (found,) = identities([str(folder)], Means(survey=survey))
    return found


def _written_anew(folder: Path) -> None:
    (folder / "a.wire").write_bytes(b"eno")


def _exchanged(folder: Path) -> None:
    for old, new in (("a", "x"), ("b", "a"), ("x", "b")):
        (folder / f"{old}.wire").rename(folder / f"{new}.wire")


def _changed_archive(folder: Path) -> None:
    (folder / "c.tar").write_bytes(b"eerht")


CHANGES: list[Callable[[Path], object]] = [
    lambda folder: (folder / "a.wire").unlink(),
    lambda folder: (folder / "d.avro").write_bytes(b""),
    lambda folder: (folder / "b.wire").rename(folder / "0.wire"),
    _written_anew,
    _exchanged,
    _changed_archive,
]


@pytest.mark.parametrize("change", CHANGES)
def test_files_that_changed_are_not_the_same_source(folder: Path, change: Callable[[Path], object]) -> None:
    before = known(folder)
    assert known(folder) == before
    change(folder)
    assert known(folder).digest != before.digest


def test_what_is_no_packet_changes_nothing_and_another_survey_orders_anew(folder: Path) -> None:
    before = known(folder)
    assert before.holds == "2 packets and 1 archives of 12 bytes"
    (folder / "notes.txt").write_text("not sent")
    assert known(folder) == before
    assert known(folder, "another") != before


@dataclass(frozen=True)
class Nights:
    """A stored night that has these segments."""

    held: list[tuple[int, int]]

    def visits(self, night: int) -> Iterator[Visit]:
        raise AssertionError("no packet is read")

    def segments(self, night: int) -> list[tuple[int, int]]:
        return self.held

    def oldest(self, night: int) -> int | None:
        raise AssertionError("no timestamp is read")


def test_a_stored_night_is_its_segments_in_their_order() -> None:
    def digest(*held: tuple[int, int]) -> str:
        (found,) = identities(["alertdb:20260305"], Means(stored=lambda: Nights(list(held))))
        assert found.holds == f"{len(held)} segments with {sum(records for _, records in held)} packets"
        return found.digest

    assert digest((3, 10), (9, 5)) == digest((3, 10), (9, 5))
    others = {digest((3, 10), (9, 6)), digest((9, 5), (3, 10)), digest((3, 10)), digest((3, 10), (9, 5), (10, 1))}
    assert len(others) == 4 and digest((3, 10), (9, 5)) not in others


def test_made_visits_are_their_model(tmp_path: Path) -> None:
    from importlib.resources import files

    text = (files("schemas") / "synthetic" / "lsst.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text)
    names = ["synthetic:visits=1", f"synthetic:visits=1,model={path}"]
    shipped, mine = identities(names, Means())
    assert shipped.digest == mine.digest and [shipped.source, mine.source] == names
    path.write_text(text.replace("start_mjd = ", "start_mjd = 1"))
    assert identities(names, Means())[1].digest != mine.digest


def test_made_visits_are_the_same_in_every_process() -> None:
    code = (
        "from producers.sources.identity import identities\n"
        "from producers.sources.opening import Means\n"
        "print(identities(['synthetic:visits=1'], Means())[0].digest)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "0123"
    }
    assert len(told) == 1


def test_what_is_not_there_is_said_as_when_it_is_opened(tmp_path: Path) -> None:
    for name, code in ((str(tmp_path / "none"), "source_missing"), ("alertdb:2026", "source")):
        with pytest.raises(Wrong) as raised:
            identities([name], Means(stored=lambda: Nights([])))
        assert raised.value.code == code
