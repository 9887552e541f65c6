"""The installed command as child processes: one that runs to its end, and the daemon."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import Fatal

COMMAND = (sys.executable, "-P", "-m", "stream.cli")
READY_WITHIN_S = 120.0
ENDS_WITHIN_S = 60.0
_LISTENING = re.compile(r'"url": "(http://[^"]+)"')


@dataclass(frozen=True, slots=True)
class Children:
    """Starts `skyburst` verbs with the demo's settings and none of the caller's.

    Attributes
    ----------
    folder
        Where their logs go: ``<verb>.log``.
    config
        The config file of all of them.
    bootstrap
        The broker.
    """

    folder: Path
    config: Path
    bootstrap: str

    def run(self, *arguments: str, shows: bool = False) -> tuple[int, str]:
        """Run a verb to its end; its exit code and what it printed.

        Parameters
        ----------
        shows
            Its stderr goes to ours (a progress bar) and not into its log.
        """
        with self.log(arguments[0]).open("wb") as log:
            done = subprocess.run(
                [*COMMAND, *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if shows else log,
                check=False,
            )
        return done.returncode, done.stdout.decode()

    def must(self, *arguments: str, shows: bool = False) -> str:
        """Run a verb that has to end with 0; what it printed.

        Raises
        ------
        stream.errors.Fatal
            ``demo_failed``: it ended otherwise.
        """
        code, printed = self.run(*arguments, shows=shows)
        if code:
            raise self.failed(arguments[0], code)
        return printed

    def json(self, *arguments: str, shows: bool = False) -> Any:
        """Run a verb that has to end with 0 and prints JSON; what it says."""
        return json.loads(self.must(*arguments, "--json", shows=shows))

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """`skyburst ingest`, ready; killed at the end of the block where it still runs."""
        with self.log("ingest").open("wb") as log:
            process = subprocess.Popen(
                [*COMMAND, "ingest", "--metrics-port", "0"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # Ctrl-C is for the demo, which then drains the daemon or kills it.
                start_new_session=True,
            )
        daemon = Daemon(process, self)
        try:
            daemon.until_ready()
            yield daemon
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def log(self, verb: str) -> Path:
        """The file with the verb's log."""
        return self.folder / f"{verb}.log"

    def failed(self, verb: str, code: int | str) -> Fatal:
        """The error of a verb that ended with `code`, with the last line it said."""
        said = self.log(verb).read_text(errors="replace").strip().splitlines()
        last = f": {said[-1]}" if said else ""
        return Fatal("demo_failed", f"skyburst {verb} ended with {code}{last}", f"see {self.log(verb)}")

    def _environment(self) -> dict[str, str]:
        bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
        return bare | {"SKYBURST_CONFIG": str(self.config), "SKYBURST_BOOTSTRAP": self.bootstrap}


@dataclass(frozen=True, slots=True)
class Daemon:
    """The running `skyburst ingest`."""

    process: subprocess.Popen[bytes]
    children: Children

    def until_ready(self) -> None:
        """Wait until it has partitions and can work.

        Raises
        ------
        stream.errors.Fatal
            ``demo_failed``: it ended, or was not ready in time.
        """
        limit = time.monotonic() + READY_WITHIN_S
        while (reasons := self._reasons()) is None or reasons:
            self.alive()
            if time.monotonic() > limit:
                text = f"skyburst ingest is not ready: {reasons or 'no answer'}"
                raise Fatal("demo_failed", text, f"see {self.children.log('ingest')}")
            time.sleep(0.05)

    def alive(self) -> None:
        """Raise ``demo_failed`` where it has ended."""
        code = self.process.poll()
        if code is not None:
            raise self.children.failed("ingest", code)

    def drain(self) -> None:
        """Stop it as a supervisor would; raises ``demo_failed`` unless it ends with 0."""
        self.process.terminate()
        try:
            code: int | str = self.process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            code = f"nothing within {ENDS_WITHIN_S:.0f} s of SIGTERM"
        if code != 0:
            raise self.children.failed("ingest", code)

    def _reasons(self) -> str | None:
        """What holds against readiness, nothing where it is ready; None where it does not answer yet."""
        listening = _LISTENING.search(self.children.log("ingest").read_text(errors="replace"))
        if listening is None:
            return None
        try:
            with urllib.request.urlopen(f"{listening[1]}/readyz", timeout=5) as answer:  # noqa: S310
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        except OSError:
            return None
        return "; ".join(f"{each['code']}: {each['text']}" for each in json.loads(body)["reasons"])
