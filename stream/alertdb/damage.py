"""How a segment disappoints: damaged, or not where its row said; and what an error of the disk means."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream.errors import Fatal, Held, SkyburstError, Transient

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EACCES, errno.EPERM}
_LINKED = {errno.ELOOP, errno.ENOTDIR}
_CROWDED = {errno.EMFILE, errno.ENFILE}


class SegmentDamaged(Held):
    """Published bytes are not what was published; the packets that it affects can be fetched again from Kafka.

    Parameters
    ----------
    name
        The file.
    what
        What is wrong, and which rows it affects.
    block_offset
        Byte offset of the block, where it is one block.
    """

    def __init__(self, name: str, what: str, block_offset: int | None = None) -> None:
        where = f"segment {name}" if block_offset is None else f"segment {name}, block at byte {block_offset}"
        super().__init__("segment_damaged", f"{where}: {what}", "run `skyburst verify` for the records it affects")
        self.name = name
        self.what = what
        self.block_offset = block_offset

    def __reduce__(self) -> tuple[Any, Any]:
        return type(self), (self.name, self.what, self.block_offset)


class SegmentAbsent(Transient):
    """No such file: read the ``segments`` row again, it may just have been sealed, copied or moved."""

    def __init__(self, name: str) -> None:
        super().__init__("segment_absent", f"no file {name}", "read the segment's row again")
        self.name = name

    def __reduce__(self) -> tuple[Any, Any]:
        return type(self), (self.name,)


def disk_error(error: OSError, name: str) -> SkyburstError:
    """Return the policy for an error of the disk on file or folder `name`."""
    what = f"{name}: {error.strerror or error}"
    if error.errno in _FULL:
        return Transient("disk_full", what, "make room; it is written again from the published length")
    if error.errno in _REFUSED:
        return Fatal("store_refused", what, "give this user the right to read and write there")
    if error.errno in _CROWDED:
        return Transient("too_many_files", what, "raise the limit of open files")
    if error.errno == errno.EEXIST:
        return Transient("name_taken", what, "a fresh number is tried")
    if error.errno == errno.ENOENT:
        return Transient("store_away", what, "is the AlertDB's file system mounted?")
    if error.errno in _LINKED:
        return Transient(
            "disk_failed", what, "links are not followed: the night's folder and its files lie in the AlertDB"
        )
    return Transient("disk_failed", what, "look at the disk; the file is sealed by copying and not written again")


@contextmanager
def disk_errors(name: str) -> Iterator[None]:
    """Translate errors of the disk on `name` into ours."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, name) from error
