"""Daemons as processes: started with failpoints armed, killed, frozen, thawed, and always ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crash.servers import Field
from doubles.nursery import Forked, Nursery

from stream.local.process import tail, wait_until

COMMAND = [sys.executable, "-m", "stream.cli"]
UP_S = 40.0


class Daemon:
    """One `skyburst ingest` process: forked from `nursery`, or where there is none started as the command it is."""

    def __init__(
        self, field: Field, log: Path, settings: Mapping[str, str], entry: Sequence[str], nursery: Nursery | None
    ) -> None:
        self.log = log
        log.touch()
        self._field = field
        self._child: subprocess.Popen[bytes] | None = None
        self._forked: Forked | None = None
        environment = field.environment() | dict(settings)
        if nursery is not None:
            self._forked = nursery.start(entry, environment, log, entry="crash.entry")
            self.pid = self._forked.pid
            return
        with log.open("ab") as out:
            self._child = subprocess.Popen(
                [*COMMAND, "ingest"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._child.pid

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs, or is frozen."""
        if self._child is not None:
            return self._child.poll()
        return self._forked.code if self._forked is not None else None

    @property
    def alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self.code is None

    @property
    def stopped(self) -> bool:
        """Whether it is frozen."""
        try:
            text = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return text[text.rindex(")") + 2] == "T"

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it logged under `event`."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            if line.startswith("{") and f'"{event}"' in line:
                said = json.loads(line)
                if said.get("event") == event:
                    found.append(said)
        return found

    @property
    def id(self) -> str:
        """The daemon's own id, in the tables' column ``owner``."""
        return str(self.lines("started")[0]["daemon"])

    def up(self, within_s: float = UP_S) -> Daemon:
        """Wait until it has started and has partitions, or none to have."""
        self.wait(lambda: bool(self.lines("started")), within_s, "did not start")
        return self

    def joined(self, within_s: float = UP_S) -> Daemon:
        """Wait until the group gave it partitions."""
        self.wait(lambda: any(line["partitions"] for line in self.lines("assigned")), within_s, "has no partitions")
        return self

    def wait(self, condition: Any, within_s: float, what: str) -> None:
        """Wait for `condition` while the process lives."""
        met = wait_until(lambda: condition() or not self.alive, within_s, every_s=0.03)
        if not met and self._child is None:
            self.send(signal.SIGUSR1)
            wait_until(lambda: False, 0.5)
        assert met and condition(), f"{self.log.stem} {what} within {within_s} s (exit {self.code}):\n{self.last()}"

    def wait_stopped(self, within_s: float = UP_S) -> None:
        """Wait until a failpoint has frozen it."""
        self.wait(lambda: self.stopped, within_s, "was not frozen")

    def ended(self, within_s: float) -> int:
        """Wait for its end; its exit code."""
        assert wait_until(lambda: not self.alive, within_s), f"{self.log.stem} did not end:\n{self.last()}"
        code = self.code
        assert code is not None
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._forked is not None:
            self._forked.send(number)
        elif self._child is not None:
            self._child.send_signal(number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.send(signal.SIGKILL)
        self.ended(30.0)

    def terminate(self) -> None:
        """Ask it to drain and end."""
        self.send(signal.SIGTERM)

    def drain(self, within_s: float = 60.0) -> int:
        """SIGTERM; its exit code."""
        self.send(signal.SIGTERM)
        return self.ended(within_s)

    def ready(self) -> tuple[bool, str]:
        """What /readyz says."""
        port = self.lines("started")[0]["port"]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                return answer.status == 200, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return False, error.read().decode()

    def fired(self, failpoint: str) -> bool:
        """Whether the failpoint fired in this very process."""
        try:
            lines = self._field.fired.read_text().splitlines()
        except FileNotFoundError:
            return False
        return any(line.split()[:2] == [str(self.pid), failpoint] for line in lines)

    def last(self) -> str:
        """The end of its log."""
        return tail(self.log, 90)


class Daemons:
    """All daemons of one test: none outlives it."""

    def __init__(self, field: Field, nursery: Nursery | None) -> None:
        self._field = field
        self._nursery = nursery
        self.all: list[Daemon] = []

    def start(
        self, name: str = "daemon", *, entry: Sequence[str] = (), failpoints: str = "", **settings: str
    ) -> Daemon:
        """Start a daemon; `settings` are of ingest, `entry` says what the tests take away from it."""
        given = {key if key.isupper() else f"SKYBURST_INGEST_{key.upper()}": value for key, value in settings.items()}
        if failpoints:
            given["SKYBURST_FAILPOINTS"] = failpoints
        log = self._field.folder / f"{name}-{len(self.all)}.log"
        daemon = Daemon(self._field, log, given, entry, self._nursery)
        self.all.append(daemon)
        return daemon

    def end(self) -> None:
        """Kill whatever still runs."""
        for daemon in self.all:
            if daemon.alive:
                daemon.kill()

    def last(self) -> str:
        """The ends of the logs of the daemons that ran last."""
        return "\n".join(f"--- {daemon.log.name}\n{daemon.last()}" for daemon in self.all[-4:])


@contextmanager
def daemons_on(field: Field, nursery: Nursery | None) -> Iterator[Daemons]:
    """Daemons on `field`, whose last lines are shown where the test fails, and which are killed at its end."""
    daemons = Daemons(field, nursery)
    try:
        yield daemons
    except BaseException:
        print(daemons.last())
        raise
    finally:
        daemons.end()
