"""Direct writes: the same bytes as any other write leaves, wherever they begin and whatever the file system takes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from fcntl import F_GETFL, fcntl
from pathlib import Path

import numpy as np
import pytest

from stream.alertdb.direct import LEAST, PAGE, DirectWriter
from stream.alertdb.disk import RealDisk
from stream.alertdb.names import file_name

NAME = file_name(20260305, 5, "0" * 16, "data")
MIB = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


@pytest.fixture
def writer(file: int) -> Iterator[DirectWriter]:
    writer = DirectWriter()
    yield writer
    writer.close(file)


Spied = Callable[[], list[tuple[int, int]]]


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> Spied:
    """Where and how much was written through a descriptor that is open for direct writes."""
    seen: list[tuple[int, int]] = []
    real = os.pwrite

    def pwrite(fd: int, data: memoryview, offset: int) -> int:
        if fcntl(fd, F_GETFL) & os.O_DIRECT:
            seen.append((offset, len(data)))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    return lambda: seen


def pieces(rng: np.random.Generator, size: int) -> list[bytes | memoryview]:
    """`size` random bytes in buffers of all sizes, as the blocks of a segment are, the last of them of signed chars."""
    data, cuts = rng.bytes(size), np.sort(rng.integers(0, size, 40)).tolist()
    parts = [data[low:high] for low, high in zip([0, *cuts], [*cuts, size], strict=True)]
    return [*parts[:-1], memoryview(parts[-1]).cast("b")]


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def joined(buffers: list[bytes | memoryview]) -> bytes:
    return b"".join(bytes(buffer) for buffer in buffers)


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, PAGE + 1, 123_457])
@pytest.mark.parametrize("size", [LEAST - 1, LEAST + 2 * PAGE, 4 * MIB, 4 * MIB + 1, 9 * MIB + 777])
def test_what_is_read_back_is_what_was_written(
    file: int, writer: DirectWriter, rng: np.random.Generator, direct: Spied, offset: int, size: int
) -> None:
    before = rng.bytes(offset)
    os.pwrite(file, before, 0)
    buffers = pieces(rng, size)
    assert writer.write(file, buffers, offset) == size
    assert os.fstat(file).st_size == offset + size
    assert os.pread(file, offset + size + 1, 0) == before + joined(buffers)
    if size >= LEAST + 2 * PAGE:
        assert sum(length for _, length in direct()) > size - 2 * PAGE, (
            "the file system of the tests takes direct writes"
        )
    assert all(at % PAGE == length % PAGE == 0 for at, length in direct())


def test_appends_follow_one_another_and_are_read_between(
    file: int, writer: DirectWriter, rng: np.random.Generator
) -> None:
    whole = b""
    for size in (3 * MIB + 5, 17, 2 * MIB, 5 * MIB + 4091, 1):
        buffers = pieces(rng, size) if size > 100 else [rng.bytes(size)]
        assert writer.write(file, buffers, len(whole)) == size
        whole += joined(buffers)
        assert os.pread(file, len(whole), 0) == whole
    # An append that was not published is written over, also by a shorter one.
    again = pieces(rng, 2 * MIB)
    assert writer.write(file, again, 1000) == 2 * MIB
    assert os.pread(file, len(whole), 0) == whole[:1000] + joined(again) + whole[1000 + 2 * MIB :]


@pytest.mark.parametrize("where", ["open", "write"])
def test_a_file_system_that_refuses_gets_every_byte_the_usual_way(
    file: int, writer: DirectWriter, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    real_open, real_write, refused = os.open, os.pwrite, []

    def refuse(*said: object) -> OSError:
        refused.append(said)
        return OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def no_open(path: str, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT:
            raise refuse(path)
        return real_open(path, flags, *more)

    def no_write(fd: int, data: memoryview, offset: int) -> int:
        if fd != file:
            raise refuse(fd)
        return real_write(fd, data, offset)

    if where == "open":
        monkeypatch.setattr(os, "open", no_open)
    else:
        monkeypatch.setattr(os, "pwrite", no_write)
    first, second = pieces(rng, 9 * MIB + 3), pieces(rng, 2 * MIB)
    assert writer.write(file, first, 5) == 9 * MIB + 3
    assert writer.write(file, second, 5 + 9 * MIB + 3) == 2 * MIB
    assert os.pread(file, 12 * MIB, 5) == joined([*first, *second])
    assert len(refused) == 1, "it is tried once a file"


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_a_full_disk_takes_fewer_bytes_and_says_how_many(
    file: int, writer: DirectWriter, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    real, calls = os.pwrite, []

    def short(fd: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        return (
            real(fd, data[: PAGE if len(data) > PAGE else 1], offset)
            if len(calls) == at + 1
            else real(fd, data, offset)
        )

    monkeypatch.setattr(os, "pwrite", short)
    buffers = pieces(rng, 9 * MIB + 3)
    taken = writer.write(file, buffers, 5)
    assert taken < 9 * MIB + 3
    assert len(calls) == at + 1, "nothing is written behind a gap"
    assert os.pread(file, taken, 5) == joined(buffers)[:taken]


def test_another_error_is_the_callers(
    file: int, writer: DirectWriter, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, data: memoryview, offset: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        writer.write(file, pieces(rng, 2 * MIB), 0)


def test_a_disk_lets_go_of_both_descriptors(tmp_path: Path, rng: np.random.Generator) -> None:
    disk = RealDisk(tmp_path)
    disk.make_folder("20260305")
    before = descriptors()
    fd = disk.create(NAME)
    data = pieces(rng, 3 * MIB)
    assert disk.write(fd, data, 0) == 3 * MIB
    assert descriptors() == before + 2
    disk.close(fd)
    assert descriptors() == before
    assert (tmp_path / NAME).read_bytes() == joined(data)
