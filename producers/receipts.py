"""What a run has got acknowledged, kept in a folder, so that a later run sends the rest and only that.

``<run>.json`` is the run: where from, where to, and the ranges of message numbers that the broker acknowledged, written
anew every second. ``<run>.unacknowledged.jsonl`` names each message that it did not. A run that was killed may send
again what was acknowledged in its last second: the ingest daemon tells repeats. ``<run>.lock`` is locked while a
process sends the run.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from stream.errors import Wrong
from stream.visit import Outgoing


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """A message that the broker did not acknowledge.

    Attributes
    ----------
    number
        Its place in the source: 0, 1, …
    headers
        What it was sent with.
    bytes
        Length of the value.
    digest
        xxh3-128 of the value, hexadecimal: a source that gives another message at this place has changed.
    code, reason
        Why, as the publisher said it.
    """

    number: int
    headers: Mapping[str, str]
    bytes: int
    digest: str
    code: str
    reason: str

    @classmethod
    def of(cls, number: int, message: Outgoing, code: str, reason: str) -> Unacknowledged:
        """The entry for `message`."""
        shown = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers}
        return cls(number, shown, len(message.value), digest_of(message), code, reason)


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a source is known again.

    Attributes
    ----------
    source
        As the command line calls it.
    holds
        What it held, for people: so many packets, archives, segments.
    digest
        xxh3-128, hexadecimal, of what decides which messages it gives, in which order.
    """

    source: str
    holds: str
    digest: str


@dataclass(slots=True)
class Receipt:
    """One run, as its file has it.

    Attributes
    ----------
    run, sources, topic, begun
        Its id, where from, where to, and when (seconds since 1970-01-01 UTC).
    taken
        Messages that the sources gave.
    complete
        The sources came to their end, and everything was acknowledged.
    announced
        Every announcement made was acknowledged; not known of a run that was killed.
    acknowledged
        Ranges ``[start, end)`` of message numbers.
    identity
        By what each of the sources is known again; None of a run that an earlier version of skyburst began.
    stream
        Cluster id and topic id of the topic; None as with `identity`.
    """

    run: str
    sources: list[str]
    topic: str
    begun: float
    taken: int = 0
    complete: bool = False
    announced: bool = False
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    identity: list[Identity] | None = None
    stream: tuple[str, str] | None = None

    def same(self, now: list[Identity]) -> bool:
        """Hold what the sources give `now` against what they gave the run; False where the run did not note it.

        Raises
        ------
        stream.errors.Wrong
            ``source_changed``: the numbers would mean other messages.
        """
        if self.identity is None:
            return False
        for then, found in zip(self.identity, now, strict=True):
            if then != found:
                raise _changed(self.run, then, found)
        return True

    def same_topic(self, now: tuple[str, str]) -> None:
        """Hold the topic as it is `now` against the one that the run sent to, where that is known.

        Raises
        ------
        stream.errors.Wrong
            ``other_source``: what was acknowledged is not in this one.
        """
        if self.stream is not None and self.stream != now:
            other = "is of another cluster" if self.stream[0] != now[0] else "was made again"
            raise Wrong(
                "other_source",
                f"the topic {self.topic} {other} since run {self.run}: what it got acknowledged is not there",
                "send all of it without --resume",
            )
        self.stream = now


def _changed(run: str, then: Identity, now: Identity) -> Wrong:
    what = f"now {now.holds}" if now.holds != then.holds else "now as many, but of other names, sizes, times or order"
    return Wrong(
        "source_changed",
        f"{then.source} is not the one that run {run} began with, so its numbers mean other messages: "
        f"then {then.holds}, {what}",
        "give the source as it was, or send all of it without --resume: what is stored already counts as repeated",
    )


def digest_of(message: Outgoing) -> str:
    """xxh3-128 of the message's value, hexadecimal."""
    return xxhash.xxh3_128_hexdigest(message.value)


class Receipts:
    """The folder of runs; made where absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> None:
        """Make the folder, so that a run that could not be noted there is not begun.

        Raises
        ------
        stream.errors.Wrong
            ``output``: it cannot be made, or not be written in.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise self._not_kept(error) from error

    def need_new(self, run: str) -> None:
        """Refuse an id that a run has already: its announcements stand, and its list of what is left to send.

        Raises
        ------
        stream.errors.Wrong
            ``run``.
        """
        if self._file(run).exists():
            text = f"run {run} was begun already, as {self._file(run)} has it"
            raise Wrong("run", text, "go on with it by --resume, or give this one another id")

    @contextmanager
    def hold(self, run: str) -> Iterator[None]:
        """Keep other processes from the run while the block lasts: they would send the same, and note less of it.

        Raises
        ------
        stream.errors.Wrong
            ``run``: another process has it, or it is no name for one. ``output``: the folder is not to be written in.
        """
        if not run.replace("-", "").replace("_", "").isalnum() or len(run) > 64:
            raise Wrong("run", f"{run!r} is no name for a run", "use up to 64 letters, digits, - and _")
        self.open()
        try:
            lock = os.open(self.folder / f"{run}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self._not_kept(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Wrong("run", f"run {run} is being sent by another process", "wait for its end, or end it") from None
        except OSError:
            # A file system without locks: the run goes on, as it did before there were any.
            pass
        try:
            yield
        finally:
            os.close(lock)

    def save(self, receipt: Receipt, failed: Iterable[Unacknowledged] = ()) -> None:
        """Write the run's files, whole or not at all.

        Raises
        ------
        stream.errors.Wrong
            ``output``: it cannot be noted, e.g. since the disk is full. What was noted before stays.
        """
        self.open()
        lines = "".join(json.dumps(asdict(each)) + "\n" for each in failed)
        try:
            if lines or self._list(receipt.run).exists():
                _replace(self._list(receipt.run), lines)
            _replace(self._file(receipt.run), json.dumps(asdict(receipt), indent=1) + "\n")
        except OSError as error:
            text = f"run {receipt.run} cannot be noted in {self.folder}: {error.strerror or error}"
            advice = "make room there and go on with --resume: what was acknowledged since the last note is sent again"
            raise Wrong("output", text, advice) from error

    def find(self, sources: list[str], topic: str, run: str | None = None) -> Receipt:
        """The run called `run`, or the last one of these sources to this topic.

        Raises
        ------
        stream.errors.Wrong
            ``no_run``: there is none; ``other_source``: it had other sources or another topic.
        """
        if run is not None:
            found = self._read(self._file(run))
            if (found.sources, found.topic) != (sources, topic):
                raise Wrong(
                    "other_source",
                    f"run {run} sent {' '.join(found.sources)} to {found.topic}",
                    "resume with the same sources, in the same order, and the same topic",
                )
            return found
        same = [each for each in self._all() if (each.sources, each.topic) == (sources, topic)]
        if not same:
            raise Wrong("no_run", f"{self.folder} has no run of these sources to {topic}", "send without --resume")
        return max(same, key=lambda each: each.begun)

    def unacknowledged(self, run: str) -> dict[int, Unacknowledged]:
        """What the run had not got acknowledged when it ended, by number."""
        path = self._list(run)
        if not path.exists():
            return {}
        entries = [Unacknowledged(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        return {entry.number: entry for entry in entries}

    def _not_kept(self, error: OSError) -> Wrong:
        text = f"runs cannot be kept in {self.folder}: {error.strerror or error}"
        return Wrong("output", text, "name another folder with --state")

    def _all(self) -> Iterable[Receipt]:
        return [self._read(path) for path in sorted(self.folder.glob("*.json"))]

    def _read(self, path: Path) -> Receipt:
        try:
            found = Receipt(**json.loads(path.read_text(encoding="utf-8")))
            found.identity = _identities(found.identity, len(found.sources))
        except FileNotFoundError:
            raise Wrong("no_run", f"{path} is not there", "see --state") from None
        except (OSError, ValueError, TypeError) as error:
            raise Wrong(
                "run_damaged", f"{path} cannot be read: {error}", "remove it, or send without --resume"
            ) from error
        found.acknowledged = [(start, end) for start, end in found.acknowledged]
        found.stream = None if found.stream is None else (found.stream[0], found.stream[1])
        return found

    def _file(self, run: str) -> Path:
        return self.folder / f"{run}.json"

    def _list(self, run: str) -> Path:
        return self.folder / f"{run}.unacknowledged.jsonl"


def _identities(read: Any, sources: int) -> list[Identity] | None:
    """What JSON has of `sources` sources; None where the run has none."""
    if read is None:
        return None
    found = [Identity(**each) for each in read]
    if len(found) != sources:
        raise ValueError(f"{len(found)} identities of {sources} sources")
    return found


def default_state() -> Path:
    """Where runs are kept unless told: the user's state folder."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "skyburst" / "replay"


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(path.name + ".new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
