"""A disk that forgets what was not synced, can fail at any call, and can lose its power at every step.

What POSIX does not promise it does not keep: bytes and lengths live through a crash only if the file was synced after
them, a file's name only if its folder was, a folder only if the root was. What was not synced may live or not, whole
or in part; the random source that a crash is given decides.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

SECTOR = 512
Bytes = bytes | memoryview


class PowerLost(BaseException):
    """The machine lost its power: no code after it runs, so that no ``except Exception`` may take it."""


@dataclass(slots=True)
class Change:
    """A write, or with `data` None a cut to `offset` bytes."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class Inode:
    """What a file is for readers now, what is on the platter for sure, and what lies between the two."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytearray = field(default_factory=bytearray)
    unsynced: list[Change] = field(default_factory=list)


@dataclass(slots=True)
class Fault:
    """What one call does instead: an errno, bytes after which a write stops, or seconds of sleep."""

    error: int = 0
    short: int | None = None
    sleep: float = 0.0


Trouble = Callable[[int, str, str], Fault | None]
"""Asked before each call with its number, its name (``write``, ``sync``, ...) and the file's."""


def at_call(number: int, fault: Fault) -> Trouble:
    """Trouble at one call, by its number."""
    return lambda count, _call, _name: fault if count == number else None


def on(call: str, part: str, fault: Fault, times: int = 1) -> Trouble:
    """Trouble at the next `times` calls of this kind on a file whose name has `part` in it."""
    left = [times]

    def trouble(_count: int, made: str, name: str) -> Fault | None:
        if made != call or part not in name or left[0] <= 0:
            return None
        left[0] -= 1
        return fault

    return trouble


class ForgetfulDisk:
    """The double behind the port `stream.alertdb.disk.Disk`.

    Parameters
    ----------
    power
        How many calls are made before the power goes, None for ever.
    trouble
        Faults of single calls.
    room
        Bytes that fit; a write beyond is short, the next one ENOSPC.
    """

    def __init__(self, power: int | None = None, trouble: Trouble | None = None, room: int | None = None) -> None:
        self.power = power
        self.trouble = trouble
        self.room = room
        self.calls = 0
        self._seen: dict[str, dict[str, Inode]] = {}
        self._kept: dict[str, dict[str, Inode]] = {}
        self._kept_folders: set[str] = set()
        self._open: dict[int, tuple[str, Inode]] = {}
        self._next = 100

    def make_folder(self, folder: str) -> None:
        self._call("make_folder", folder)
        self._seen.setdefault(folder, {})
        self._call("sync_root", folder)
        self._kept_folders |= set(self._seen)

    def sync_folder(self, folder: str) -> None:
        self._call("sync_folder", folder)
        self._kept[folder] = dict(self._folder(folder))

    def create(self, name: str) -> int:
        self._call("create", name)
        folder, file = self._split(name)
        if file in folder:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)
        folder[file] = Inode()
        return self._handle(name, folder[file])

    def open(self, name: str) -> int:
        self._call("open", name)
        folder, file = self._split(name)
        if file not in folder:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._handle(name, folder[file])

    def close(self, fd: int) -> None:
        del self._open[fd]

    def write(self, fd: int, buffers: Sequence[Bytes], offset: int) -> int:
        name, inode = self._open[fd]
        data = b"".join(buffers)
        fault = self._call("write", name)
        if fault is not None and fault.short is not None:
            data = data[: fault.short]
        if self.room is not None:
            data = data[: max(0, self.room - self._used() + max(0, len(inode.seen) - offset))]
            if not data and buffers:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        _apply(inode.seen, Change(offset, data))
        inode.unsynced.append(Change(offset, data))
        return len(data)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        self._call("read", self._open[fd][0])
        return bytes(self._open[fd][1].seen[offset : offset + size])

    def size(self, fd: int) -> int:
        return len(self._open[fd][1].seen)

    def truncate(self, fd: int, length: int) -> None:
        name, inode = self._open[fd]
        self._call("truncate", name)
        _apply(inode.seen, Change(length, None))
        inode.unsynced.append(Change(length, None))

    def sync(self, fd: int) -> None:
        name, inode = self._open[fd]
        try:
            self._call("sync", name)
        except OSError:
            # As Linux does: the pages are marked clean although they never came to the platter, and the next sync of
            # them says yes.
            inode.unsynced.clear()
            raise
        for change in inode.unsynced:
            _apply(inode.kept, change)
        inode.unsynced.clear()

    def leads(self, name: str, fd: int) -> bool:
        folder, _, file = name.partition("/")
        return self._seen.get(folder, {}).get(file) is self._open[fd][1]

    def release(self, fd: int, offset: int, size: int) -> None:
        """Nothing that a test could see."""

    def unlink(self, name: str) -> None:
        self._call("unlink", name)
        folder, file = self._split(name)
        if file not in folder:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        del folder[file]

    def rename(self, old: str, new: str) -> None:
        """Not in the port, which makes every file under its last name; here so that whoever adds it is held to it."""
        self._call("rename", old)
        folder, file = self._split(old)
        target, name = self._split(new)
        target[name] = folder.pop(file)

    def replace(self, folder: str) -> None:
        """Somebody takes the folder away and makes another of its name, and syncs nothing."""
        self._seen[folder] = {}
        self._kept.pop(folder, None)
        self._kept_folders.discard(folder)

    def names(self) -> Iterator[str]:
        for folder in sorted(self._seen):
            for file in sorted(self._seen[folder]):
                yield f"{folder}/{file}"

    def free(self) -> int:
        return (1 << 40) if self.room is None else max(0, self.room - self._used())

    def after_crash(self, chance: random.Random) -> ForgetfulDisk:
        """Return the disk as the machine finds it on its next start; `chance` decides what of the unsynced lived."""
        disk = ForgetfulDisk()
        for folder, seen in self._seen.items():
            kept = self._kept.get(folder, {})
            if folder not in self._kept_folders and chance.random() < 0.5:
                continue
            disk._seen[folder] = {}
            for file in sorted(set(seen) | set(kept)):
                inode = seen.get(file) if chance.random() < 0.5 else kept.get(file)
                if seen.get(file) is kept.get(file):
                    inode = kept.get(file)
                if inode is not None:
                    disk._seen[folder][file] = _survivor(inode, chance)
            disk._kept[folder] = dict(disk._seen[folder])
            disk._kept_folders.add(folder)
        return disk

    def flip(self, name: str, offset: int, mask: int = 0x01) -> None:
        """Change bits of a byte for good."""
        folder, file = self._split(name)
        for content in (folder[file].seen, folder[file].kept):
            if offset < len(content):
                content[offset] ^= mask

    def content(self, name: str) -> bytes:
        """Bytes of a file as a reader sees them."""
        folder, file = self._split(name)
        return bytes(folder[file].seen)

    def _call(self, call: str, name: str) -> Fault | None:
        if self.power is not None and self.calls >= self.power:
            raise PowerLost(f"before call {self.calls}: {call} {name}")
        self.calls += 1
        fault = None if self.trouble is None else self.trouble(self.calls, call, name)
        if fault is not None:
            time.sleep(fault.sleep)
            if fault.error:
                raise OSError(fault.error, os.strerror(fault.error), name)
        return fault

    def _handle(self, name: str, inode: Inode) -> int:
        self._next += 1
        self._open[self._next] = (name, inode)
        return self._next

    def _folder(self, folder: str) -> dict[str, Inode]:
        if folder not in self._seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        return self._seen[folder]

    def _split(self, name: str) -> tuple[dict[str, Inode], str]:
        folder, _, file = name.partition("/")
        return self._folder(folder), file

    def _used(self) -> int:
        return sum(len(inode.seen) for folder in self._seen.values() for inode in folder.values())


def _apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
        return
    if len(content) < change.offset:
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(change.data)] = change.data


def _survivor(inode: Inode, chance: random.Random) -> Inode:
    """A file after a crash: of each unsynced change all, nothing, some sectors, or its length with zeros in it."""
    content = bytearray(inode.kept)
    for change in inode.unsynced:
        lot = chance.random()
        if lot < 0.3:
            continue
        if change.data is None or lot < 0.6:
            _apply(content, change)
        elif lot < 0.8:
            for low in range(0, len(change.data), SECTOR):
                if chance.random() < 0.5:
                    _apply(content, Change(change.offset + low, change.data[low : low + SECTOR]))
        else:
            content.extend(bytes(max(0, change.offset + len(change.data) - len(content))))
    return Inode(bytearray(content), bytearray(content))
