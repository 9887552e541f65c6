"""The release's files on disk: where workers find them, merged ones, and whether they are still the manifest's."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from consumers.release.load.gate import Problem
from consumers.release.load.plan import Part, Planned, PlannedTransaction
from stream.errors import SkyburstError

MERGED = "merged"
"""Folder of merged files in a release's folder; a transaction's are removed when it is over."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a release.

    Parameters
    ----------
    folder
        The release's.
    url
        Under which the workers find it; with no ``/`` at its end.
    """

    folder: Path
    url: str

    @classmethod
    def of(cls, folder: Path, url: str | None) -> Files:
        """With `url` as it was given, or the folder's own ``file`` URL."""
        return cls(folder, (url or f"file://{quote(str(folder))}").rstrip("/"))

    def url_of(self, planned: Planned, key: str) -> str:
        """Where a worker reads a contribution."""
        path = planned.parts[0].path if len(planned.parts) == 1 else self._merged(planned, key)
        return f"{self.url}/{quote(path)}"

    def merge(self, planned: Planned, key: str) -> None:
        """Write the one file of a contribution that has several parts, at once and whole.

        Raises
        ------
        SkyburstError
            ``release_disk``: the disk is full or a part cannot be read; nothing was sent.
        """
        if len(planned.parts) == 1:
            return
        path = self.folder / self._merged(planned, key)
        if path.is_file() and path.stat().st_size == planned.bytes:
            return
        new = path.with_suffix(f".{os.getpid()}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                for part in planned.parts:
                    with (self.folder / part.path).open("rb") as source:
                        shutil.copyfileobj(source, file, _BLOCK)
            new.replace(path)
        except OSError as error:
            new.unlink(missing_ok=True)
            text = f"{planned.name} cannot be merged into {path}: {error.strerror or error}"
            raise SkyburstError("release_disk", text, "make room, or set --release-merge-bytes 0") from error

    def clear(self, key: str) -> None:
        """Remove the merged files of a transaction."""
        shutil.rmtree(self.folder / MERGED / key[:16], ignore_errors=True)

    def _merged(self, planned: Planned, key: str) -> str:
        parts = hashlib.sha256(" ".join(part.sha256 for part in planned.parts).encode()).hexdigest()
        return f"{MERGED}/{key[:16]}/{planned.chunk}{'_overlap' * planned.overlap}_{parts[:16]}.txt"

    def changed(self, planned: PlannedTransaction) -> list[Problem]:
        """The files that are not the manifest's: gone, of another size, or of another digest."""
        found = (self._changed(each, part) for each in planned.contributions for part in each.parts)
        return [Problem("release_file_changed", text) for text in found if text]

    def _changed(self, planned: Planned, part: Part) -> str:
        where = f"{part.path} (table {planned.table}, chunk {planned.chunk})"
        try:
            with (self.folder / part.path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size != part.bytes:
                    return f"{where} has {size} bytes, {part.bytes} in the manifest"
                if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                    return f"{where} is not what the manifest says (SHA-256)"
        except OSError as error:
            return f"{where} cannot be read: {error.strerror or error}"
        return ""


class Chained(io.RawIOBase):
    """Several files read as one, for a request's body."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._left = iter(paths)
        self._file: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, none at the end."""
        while True:
            if self._file is None:
                following = next(self._left, None)
                if following is None:
                    return b""
                self._file = following.open("rb")
            if block := self._file.read(size):
                return block
            self._file.close()
            self._file = None

    def close(self) -> None:
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
