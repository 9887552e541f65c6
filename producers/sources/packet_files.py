"""Packets in files: one message a ``.wire`` or ``.avro`` file, alone, in folders, or in tar archives of a night."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stream.errors import Wrong

MESSAGES = (".wire", ".avro")
ARCHIVES = (".tar.gz", ".tgz", ".tar")
LARGEST = 10 << 20
"""Bytes: a larger file cannot be a packet, since no topic would take it."""


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
        ``source_missing``: a path is not there, or there is nothing of ours in it.
    """
    messages: list[Path] = []
    archives: list[Path] = []
    for path in paths:
        found = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        if not path.exists():
            raise Wrong("source_missing", f"{path} is not there", "name files or folders of packets")
        ours = [each for each in found if each.name.endswith(MESSAGES)]
        packed = [each for each in found if each.name.endswith(ARCHIVES)]
        if not ours and not packed:
            raise Wrong("source_missing", f"no packets in {path}", f"packets end in {', '.join(MESSAGES + ARCHIVES)}")
        messages += ours
        archives += packed
    return messages, archives


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
        ``source_unreadable``: it is damaged, or ends early; ``source_oversized``.
    """
    try:
        with tarfile.open(path, mode="r|*") as archive:
            for member in archive:
                if not member.isfile() or not member.name.endswith(MESSAGES):
                    continue
                if member.size > LARGEST:
                    raise Wrong("source_oversized", f"{member.name} in {path} has {member.size} bytes")
                content = archive.extractfile(member)
                if content is not None:
                    yield Packet(f"{path}:{member.name}", content.read())
                # tarfile keeps every member it has seen, and a night has millions.
                archive.members.clear()  # type: ignore[attr-defined]
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise Wrong("source_unreadable", f"{path}: {error}", "fetch the archive again") from error
