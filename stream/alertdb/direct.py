"""Large writes straight to the disk, out of memory that is used again and again.

Through the system's memory each page would be found, filled and let go of once. Where memory is given back to a host in
between, a page costs several times that (``docs/decisions/drain-bottleneck.md`` has figures).
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Sequence

import numpy as np

Bytes = bytes | memoryview

PAGE = 4096
"""Bytes to which memory, position and length of a direct write are aligned."""
LEAST = 1 << 20
"""Bytes below which a write goes the usual way: a live commit is small, and waits for the disk once, at its sync."""
_ROOM = 4 << 20
_SHORT = 4096
"""Bytes below which the lock is kept: so few are copied in 0.1 µs, and without it in 0.7 (measured)."""
_NONE = -1


class DirectWriter:
    """Writes whole pages directly, and what is left at both ends the usual way; no page is written in both ways.

    What a sync promises is not changed by it. Where the file system takes no direct writes, all go the usual way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beside: dict[int, int] = {}
        self._room: memoryview | None = None

    def write(self, fd: int, buffers: Sequence[Bytes], offset: int) -> int:
        """Write `buffers` at `offset` of the file `fd`; return how many were taken, which a full disk makes fewer."""
        end = offset + sum(map(len, buffers))
        if _whole(end) - _whole(offset + PAGE - 1) < LEAST:
            return os.pwritev(fd, buffers, offset)
        with self._lock:
            if self._opened(fd) == _NONE:
                return os.pwritev(fd, buffers, offset)
            return self._write(fd, buffers, offset)

    def close(self, fd: int) -> None:
        """Let go of what was opened beside `fd`."""
        with self._lock:
            direct = self._beside.pop(fd, _NONE)
        if direct != _NONE:
            os.close(direct)

    def _write(self, fd: int, buffers: Sequence[Bytes], offset: int) -> int:
        """Gather in the room, which begins at a page of the file, and empty it whenever it is full."""
        if self._room is None:
            self._room = memoryview(mmap.mmap(-1, _ROOM))
        room, into, at = self._room, np.frombuffer(self._room, np.uint8), offset
        first = filled = offset % PAGE
        for buffer in buffers:
            rest = memoryview(buffer).cast("B")
            while rest:
                piece = rest[: _ROOM - filled]
                end = filled + len(piece)
                if len(piece) < _SHORT:
                    room[filled:end] = piece
                else:
                    # Without the interpreter's lock: half a megabyte is copied so, and all other threads would wait.
                    np.copyto(into[filled:end], np.frombuffer(piece, np.uint8))
                filled, rest = end, rest[len(piece) :]
                if filled == _ROOM:
                    taken = self._empty(fd, room[first:], at)
                    at += taken
                    if taken < _ROOM - first:
                        return at - offset
                    first = filled = 0
        return at + self._empty(fd, room[first:filled], at) - offset

    def _empty(self, fd: int, data: memoryview, at: int) -> int:
        """Write `data`, which lies as far behind the beginning of a page as `at` does."""
        end = at + len(data)
        low = min(_whole(at + PAGE - 1), end)
        high = max(_whole(end), low)
        taken = 0
        for direct, start, stop in ((False, at, low), (True, low, high), (False, high, end)):
            piece = data[start - at : stop - at]
            if piece:
                wrote = self._write_direct(fd, piece, start) if direct else os.pwrite(fd, piece, start)
                taken += wrote
                if wrote < len(piece):
                    break
        return taken

    def _write_direct(self, fd: int, pages: memoryview, at: int) -> int:
        if self._beside[fd] != _NONE:
            try:
                return os.pwrite(self._beside[fd], pages, at)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # It wants another alignment, or opens files for what it does not do.
                os.close(self._beside[fd])
                self._beside[fd] = _NONE
        return os.pwrite(fd, pages, at)

    def _opened(self, fd: int) -> int:
        """A second descriptor of the file `fd` for direct writes, opened once; `_NONE` where there can be none."""
        if fd not in self._beside:
            try:
                self._beside[fd] = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
            except OSError:
                self._beside[fd] = _NONE
        return self._beside[fd]


def _whole(offset: int) -> int:
    """The beginning of the page in which `offset` lies."""
    return offset // PAGE * PAGE
