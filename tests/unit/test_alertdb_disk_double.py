"""The disk double itself: what it keeps, what it forgets, what it refuses."""

from __future__ import annotations

import errno
import random

import pytest
from doubles.disk import Fault, ForgetfulDisk, PowerLost, at_call, on

FILE = "20260305/1-00.avro"


def outcomes(disk: ForgetfulDisk, name: str = FILE) -> set[bytes | None]:
    """What the file may be after a crash."""
    seen: set[bytes | None] = set()
    for seed in range(200):
        after = disk.after_crash(random.Random(seed))
        seen.add(after.content(name) if name in after.names() else None)
    return seen


def written(disk: ForgetfulDisk, data: bytes = b"abc") -> int:
    disk.make_folder("20260305")
    fd = disk.create(FILE)
    disk.write(fd, [data], 0)
    return fd


def test_what_was_synced_with_its_folder_lives() -> None:
    disk = ForgetfulDisk()
    fd = written(disk)
    disk.sync(fd)
    disk.sync_folder("20260305")
    assert outcomes(disk) == {b"abc"}


def test_bytes_lengths_and_cuts_that_were_not_synced_may_go() -> None:
    disk = ForgetfulDisk()
    fd = written(disk)
    disk.sync(fd)
    disk.sync_folder("20260305")
    disk.write(fd, [b"de"], 3)
    assert outcomes(disk) == {b"abc", b"abcde", b"abc\0\0"}
    disk.sync(fd)
    disk.truncate(fd, 1)
    assert outcomes(disk) == {b"abcde", b"a"}


def test_names_and_folders_that_were_not_synced_may_go() -> None:
    disk = ForgetfulDisk()
    fd = written(disk)
    disk.sync(fd)
    assert outcomes(disk) == {b"abc", None}
    disk.sync_folder("20260305")
    disk.rename(FILE, "20260305/2-00.avro")
    assert outcomes(disk) == {b"abc", None}
    disk.unlink("20260305/2-00.avro")
    assert outcomes(disk) == {b"abc", None}
    disk.sync_folder("20260305")
    assert outcomes(disk) == {None}


def test_a_write_may_live_in_part() -> None:
    disk = ForgetfulDisk()
    fd = written(disk, b"x" * 1024)
    disk.sync_folder("20260305")
    assert b"x" * 512 in outcomes(disk)
    assert bytes(512) + b"x" * 512 in outcomes(disk)
    disk.close(fd)


def test_the_sync_after_a_failed_one_says_yes_and_keeps_nothing() -> None:
    disk = ForgetfulDisk()
    fd = written(disk)
    disk.sync(fd)
    disk.sync_folder("20260305")
    disk.write(fd, [b"xyz"], 0)
    disk.trouble = on("sync", "avro", Fault(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        disk.sync(fd)
    disk.sync(fd)
    assert disk.content(FILE) == b"xyz"
    assert outcomes(disk) == {b"abc"}


def test_power_goes_at_the_call_it_is_told_and_stays_away() -> None:
    disk = ForgetfulDisk(power=3)
    with pytest.raises(PowerLost):
        written(disk)
    with pytest.raises(PowerLost):
        disk.open(FILE)


def test_room_ends_in_a_short_write_and_then_an_error() -> None:
    disk = ForgetfulDisk(room=5)
    fd = written(disk)
    assert disk.write(fd, [b"defgh"], 3) == 2
    with pytest.raises(OSError, match="No space"):
        disk.write(fd, [b"f"], 5)
    assert disk.write(fd, [b"ABC"], 0) == 3
    assert disk.free() == 0


def test_one_call_can_be_made_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("doubles.disk.time.sleep", slept.append)
    written(ForgetfulDisk(trouble=at_call(3, Fault(sleep=9.0))))
    assert slept == [9.0]
