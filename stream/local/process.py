"""One server process: started in a session of its own, and known again by its pid file, whoever started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stream.errors import Fatal


@dataclass(slots=True)
class Process:
    """A process that is ours only while its number, its start and the boot are those that we wrote down.

    Attributes
    ----------
    pid
        The process number, which the system may give away again.
    started
        Clock ticks from boot to the start of the process (proc(5), field 22 of ``stat``).
    boot
        The boot's id: ticks of another boot mean nothing.
    """

    pid: int
    started: int
    boot: str
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def start(cls, argv: Sequence[str], *, log: Path, pid_file: Path, env: Mapping[str, str] | None = None) -> Process:
        """Start `argv` in its own session, its output appended to `log`, and write `pid_file`, or have it not run."""
        with log.open("ab") as out:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=None if env is None else dict(env),
            )
        process = cls.of(child.pid)
        process._child = child
        try:
            process.note(pid_file)
        except BaseException:
            # Nobody would find it again.
            process.kill()
            raise
        return process

    @classmethod
    def of(cls, pid: int) -> Process:
        """Return the process that has the number `pid` now."""
        return cls(pid, _started(pid) or -1, _boot())

    @classmethod
    def find(cls, pid_file: Path) -> Process | None:
        """Return the process that `pid_file` names if it still runs, else None."""
        try:
            noted = json.loads(pid_file.read_text())
            process = cls(int(noted["pid"]), int(noted["started"]), str(noted["boot"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return process if process.alive else None

    def note(self, pid_file: Path) -> None:
        """Write down in `pid_file` which process this is, for `find`."""
        pid_file.write_text(json.dumps({"pid": self.pid, "started": self.started, "boot": self.boot}))

    @property
    def alive(self) -> bool:
        """Whether the very process runs (or is frozen); a zombie does not."""
        if self._child is not None:
            return self._child.poll() is None
        return _started(self.pid) == self.started and self.boot == _boot()

    def comes_up(self, answers: Callable[[], bool], within_s: float) -> bool:
        """Wait until `answers` holds; whether it did. Where it did not, or raised, the process is killed."""
        up = False
        try:
            up = wait_until(lambda: not self.alive or answers(), within_s) and self.alive
        finally:
            if not up:
                self.kill()
        return up

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process is gone."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def stop(self, within_s: float) -> bool:
        """Ask the process to end (SIGTERM) and kill it after `within_s` seconds; whether it ended by itself."""
        self.send(signal.SIGTERM)
        if self.ended(within_s):
            return True
        self.kill()
        return False

    def kill(self) -> None:
        """Kill the process (SIGKILL) and wait until it is gone."""
        self.send(signal.SIGKILL)
        if not self.ended(30.0):
            raise Fatal("process_stuck", f"process {self.pid} is still there 30 s after SIGKILL")

    def ended(self, within_s: float) -> bool:
        """Wait at most `within_s` seconds for the end of the process; whether it came."""
        return wait_until(lambda: not self.alive, within_s)


def wait_until(condition: Callable[[], bool], within_s: float, *, every_s: float = 0.02) -> bool:
    """Poll `condition` until it holds or `within_s` seconds are over; whether it held."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() >= end:
            return False
        time.sleep(every_s)
    return True


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


def _started(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in brackets and may hold anything, brackets and spaces too.
    fields = text[text.rindex(")") + 2 :].split()
    state, threads, started = fields[0], int(fields[17]), int(fields[19])
    # A killed server's first thread is a zombie while its others still end, and hold its files and ports.
    return None if state in "ZX" and threads <= 1 else started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
