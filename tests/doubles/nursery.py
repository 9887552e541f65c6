"""A process that has imported everything and forks commands from itself: three seconds of imports are paid once.

The tests speak to it by lines of JSON: ``{"entry": …, "argv": …, "environment": …, "log": …, "out": …}`` starts a
process, which is answered with its number; its exit code comes as a file beside its log. At the end of its input it
kills what still runs.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import select
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.local.process import tail, wait_until

COMMAND = "stream.cli.group"
"""The module whose `main` is the command ``skyburst``."""


@dataclass(frozen=True, slots=True)
class Forked:
    """A process that was forked.

    Attributes
    ----------
    pid
        Its number.
    log
        Where its stderr goes, and its stdout where no other place was given.
    """

    pid: int
    log: Path

    @property
    def code(self) -> int | None:
        """Its exit code, that of a signal negative; None while it runs, or is frozen."""
        try:
            return int(exit_file(self.log).read_text())
        except FileNotFoundError:
            return None

    def wait(self, within_s: float) -> int:
        """Wait for its end; its exit code."""
        assert wait_until(lambda: self.code is not None, within_s), f"still there after {within_s} s:\n{self.said}"
        code = self.code
        assert code is not None
        return code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.code is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                assert self.code is not None, f"{self.log.stem} is gone, and nobody knows how it ended"

    @property
    def said(self) -> str:
        """All that stands in its log."""
        return self.log.read_text(errors="replace")


class Nursery:
    """The tests' side of it. Threads may share it: one question and its answer at a time."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._asking = threading.Lock()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True
            )

    def start(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        out: Path | None = None,
        entry: str = COMMAND,
    ) -> Forked:
        """Fork a process that runs `main` of the module `entry`; `out` takes its stdout, else `log` does."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        assert not exit_file(log).exists(), f"another process has logged to {log}"
        log.touch()
        question = {
            "entry": entry,
            "argv": list(argv),
            "environment": dict(environment),
            "log": str(log),
            "out": str(out or log),
        }
        with self._asking:
            asked.write(json.dumps(question) + "\n")
            asked.flush()
            answer = answers.readline()
        assert answer, f"the nursery ended:\n{tail(self._log)}"
        return Forked(int(answer), log)

    def close(self) -> None:
        """End it, and all that it has forked."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(30)


def exit_file(log: Path) -> Path:
    """Where the exit code of the process that logs to `log` is written."""
    return log.with_suffix(".exit")


def _serve() -> None:
    _import()
    children: dict[int, Path] = {}
    source, rest = sys.stdin.fileno(), b""
    while True:
        if select.select([source], [], [], 0.01 if children else None)[0]:
            data = os.read(source, 1 << 16)
            if not data:
                break
            rest += data
        while b"\n" in rest:
            line, _, rest = rest.partition(b"\n")
            asked = json.loads(line)
            pid = os.fork()
            if pid == 0:
                _become(asked)
            children[pid] = Path(asked["log"])
            print(pid, flush=True)
        _reap(children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _reap(children: dict[int, Path]) -> None:
    """Write the exit codes of those that ended, and only then let go of their numbers."""
    for pid in list(children):
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is not None:
            log = children.pop(pid)
            written = exit_file(log).with_suffix(".exiting")
            written.write_text(str(end.si_status if end.si_code == os.CLD_EXITED else -end.si_status))
            written.rename(exit_file(log))
            os.waitpid(pid, 0)


def _become(asked: Any) -> None:
    """In the child: run the command as a process of its own would."""
    code = 70
    try:
        os.setsid()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log, out = os.open(asked["log"], flags, 0o600), os.open(asked["out"], flags, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((null, 0), (out, 1), (log, 2)):
            os.dup2(old, new)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["skyburst", *asked["argv"]]
        importlib.import_module(asked["entry"]).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _import() -> None:
    """All modules of ours, and the packet check compiled."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    for room in ("stream", "producers", "consumers"):
        package = importlib.import_module(room)
        for module in pkgutil.walk_packages(package.__path__, f"{room}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    from random import Random

    import crash.entry  # noqa: F401
    from crash.packets import Packets

    from stream.codec.decoder import Decoder
    from stream.codec.sources import open_schemas
    from stream.survey import load_survey

    decoder = Decoder(open_schemas(None), load_survey("lsst").paths)
    value = Packets(Random(1)).sound().value
    assert value is not None
    decoder.check([value])


if __name__ == "__main__":
    _serve()
