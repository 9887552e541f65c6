"""Files written straight to the disk: the same bytes, whatever the size and whatever the file system takes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from consumers.release.partition.whole import LEAST, PAGE, memory, write_whole


def pages(rng: np.random.Generator, size: int) -> memoryview:
    found = memory(size, 1 << 20)
    assert np.frombuffer(found, np.uint8).ctypes.data % PAGE == 0
    found[:] = rng.bytes(size)
    return found


@pytest.mark.parametrize("size", [1, LEAST - 1, LEAST, LEAST + 1, 3 * LEAST + PAGE - 1])
def test_the_file_has_the_bytes_and_nothing_of_an_older_one(
    tmp_path: Path, rng: np.random.Generator, size: int
) -> None:
    path = tmp_path / "chunk_1.txt"
    path.write_bytes(b"older" * LEAST)
    data = pages(rng, size)
    write_whole(path, data)
    assert path.read_bytes() == bytes(data)


@pytest.mark.parametrize("where", ["open", "pwrite"])
def test_a_file_system_that_refuses_gets_the_file_the_usual_way(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    real, asked = getattr(os, where), []

    def refuse(first: object, second: object, *more: object) -> object:
        if where == "open" and not (isinstance(second, int) and second & os.O_DIRECT):
            return real(first, second, *more)
        asked.append(first)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, where, refuse)
    data = pages(rng, 2 * LEAST + 5)
    write_whole(tmp_path / "file", data)
    monkeypatch.undo()
    assert asked
    assert (tmp_path / "file").read_bytes() == bytes(data)


def test_what_is_taken_in_parts_is_written_whole(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sizes = os.pwrite, iter([PAGE, 3 * PAGE, 100])

    def part(fd: int, data: memoryview, at: int) -> int:
        size = next(sizes, len(data))
        if size % PAGE:  # a file system that ends within a page: the rest cannot go directly any more
            return os.pwritev(usual, [data[:size]], at)
        return real(fd, data[:size], at)

    monkeypatch.setattr(os, "pwrite", part)
    data = pages(rng, 2 * LEAST + 5)
    (tmp_path / "file").touch()
    usual = os.open(tmp_path / "file", os.O_WRONLY)
    try:
        write_whole(tmp_path / "file", data)
    finally:
        os.close(usual)
    assert (tmp_path / "file").read_bytes() == bytes(data)


def test_a_full_disk_is_told_of(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: memoryview, at: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        write_whole(tmp_path / "file", pages(rng, 2 * LEAST))
