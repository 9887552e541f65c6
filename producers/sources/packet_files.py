"""Packets in files: one message a ``.wire`` or ``.avro`` file, alone, in folders, or in tar archives of a night."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from stream.errors import Wrong

MESSAGES = (".wire", ".avro")
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
LARGEST = 10 << 20
"""Bytes: a larger file cannot be a packet, since no topic would take it."""


def _open_zstd(file: BinaryIO) -> Any:
    """Arrow's reader, which tells of a frame that is cut; that of zstandard takes it for the end."""
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")


_COMPRESSED: Mapping[bytes, Callable[[BinaryIO], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": _open_zstd,
}


@dataclass(frozen=True, slots=True)
class Packet:
    """A message as it is to be sent, and the file that it is from."""

    name: str
    value: bytes


def find_files(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """The message files and the archives among `paths` and below folders of them, each folder's in order of name.

    Raises
    ------
    stream.errors.Wrong
        ``source_missing``: a path is not there, or there is nothing of ours in it; ``source_unreadable``: a folder
        cannot be looked into, or a link leads nowhere or to another folder, so that its packets would be left out.
    """
    messages: list[Path] = []
    archives: list[Path] = []
    roots = [_really(path) for path in paths]
    for path in paths:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Wrong("source_missing", f"{path} is not there", "name files or folders of packets") from error
        except OSError as error:
            raise Wrong("source_unreadable", f"{path}: {error.strerror}") from error
        found = _below(path, roots) if path.is_dir() else [path]
        ours = [each for each in found if each.name.endswith(MESSAGES)]
        packed = [each for each in found if each.name.endswith(ARCHIVES)]
        if not ours and not packed:
            raise Wrong("source_missing", f"no packets in {path}", f"packets end in {', '.join(MESSAGES + ARCHIVES)}")
        messages += ours
        archives += packed
    return messages, archives


def _below(folder: Path, roots: Sequence[Path]) -> list[Path]:
    found = []
    for at, folders, names in os.walk(folder, onerror=_refuse):
        for path in (Path(at) / name for name in folders):
            if path.is_symlink() and not _among(_really(path), roots) and _has_packets(path):
                text = f"{path} is a link to {_really(path)}, and links to folders are not followed"
                raise Wrong("source_unreadable", text, "name that folder, too")
        for path in (Path(at) / name for name in names if name.endswith(MESSAGES + ARCHIVES)):
            try:
                mode = path.stat().st_mode
            except FileNotFoundError as error:
                text = f"{path} is a link that leads nowhere"
                raise Wrong("source_unreadable", text, "mend or remove it") from error
            except OSError as error:
                _refuse(error)
            if stat.S_ISREG(mode):
                found.append(path)
    return sorted(found)


def _refuse(error: OSError) -> NoReturn:
    raise Wrong("source_unreadable", f"{error.filename}: {error.strerror}") from error


def _really(path: Path) -> Path:
    """Where links lead; other than `Path.resolve` it gives what it can where they go round in circles."""
    return Path(os.path.realpath(path))


def _among(folder: Path, roots: Sequence[Path]) -> bool:
    return any(folder.is_relative_to(root) for root in roots)


def _has_packets(folder: Path) -> bool:
    walk = os.walk(folder, onerror=_refuse)
    return any(name.endswith(MESSAGES + ARCHIVES) for _, _, names in walk for name in names)


def read_packet(path: Path) -> Packet:
    """The packet in a file of its own.

    Raises
    ------
    stream.errors.Wrong
        ``source_unreadable``; ``source_oversized``.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise Wrong("source_oversized", f"{path} has {size} bytes", f"no packet has more than {LARGEST}")
        return Packet(str(path), path.read_bytes())
    except OSError as error:
        raise Wrong("source_unreadable", f"{path}: {error.strerror}") from error


def read_archive(path: Path) -> Iterator[Packet]:
    """The packets in a tar archive, in its order, one in memory at a time; other files in it are passed over.

    Raises
    ------
    stream.errors.Wrong
        ``source_unreadable``: it is damaged, ends early, goes on behind its end, or has a packet only as a link;
        ``source_oversized``.
    """
    try:
        with _inflated(path) as file, tarfile.open(fileobj=cast(BinaryIO, file), mode="r|") as archive:
            for member in archive:
                if not member.name.endswith(MESSAGES):
                    continue
                if member.issym() or member.islnk():
                    text = f"{member.name} in {path} is a link to {member.linkname}, and would be left out"
                    raise Wrong("source_unreadable", text, "pack with tar --dereference --hard-dereference")
                if not member.isfile():
                    continue
                if member.size > LARGEST:
                    raise Wrong("source_oversized", f"{member.name} in {path} has {member.size} bytes")
                content = archive.extractfile(member)
                if content is not None:
                    yield Packet(f"{path}:{member.name}", content.read())
                # tarfile keeps every member it has seen, and a night has millions.
                archive.members.clear()  # type: ignore[attr-defined]
            # tarfile takes a torn header, and a file that just stops, for the end.
            file.need_zeros(archive.offset)
    except (OSError, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Wrong("source_unreadable", f"{path}: {error}", "fetch the archive again") from error


class _Tail:
    """A file as tarfile reads it, piece by piece; it still has the last two, in which tarfile finds the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._given = 0
        self._last = (b"", b"")

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._given += len(data)
        self._last = (self._last[1], data)
        return data

    def need_zeros(self, offset: int) -> None:
        """Read to the end, and raise `tarfile.TarError` unless all from `offset` on, a block at least, is zeros."""
        last = b"".join(self._last)
        behind = last[max(0, len(last) - (self._given - offset)) :]
        if len(behind) < tarfile.BLOCKSIZE or behind.strip(b"\0"):
            raise tarfile.ReadError(f"it ends at byte {offset} without the mark of its end")
        while data := self._file.read(tarfile.RECORDSIZE):
            if data.strip(b"\0"):
                raise tarfile.ReadError(f"it goes on behind its end at byte {offset}, as joined archives do")


@contextmanager
def _inflated(path: Path) -> Iterator[_Tail]:
    """The archive's own bytes, whatever it is compressed with: of all parts, with their checksums."""
    with path.open("rb") as file:
        begin = file.read(6)
        file.seek(0)
        opener = next((opener for magic, opener in _COMPRESSED.items() if begin.startswith(magic)), None)
        if opener is None:
            yield _Tail(file)
            return
        with opener(file) as inflated:
            yield _Tail(inflated)
