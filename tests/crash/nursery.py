"""A process that has imported everything and forks daemons from itself: three seconds of imports are paid once.

The tests speak to it by lines of JSON: ``{"argv": …, "environment": …, "log": …}`` starts a daemon and is answered with
its process number; its exit code comes as a file beside its log. At the end of its input it kills what still runs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stream.local.process import tail


class Nursery:
    """The tests' side of it. Threads may share it: one question and its answer at a time."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._asking = threading.Lock()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True
            )

    def start(self, argv: Sequence[str], environment: Mapping[str, str], log: Path) -> int:
        """Fork a daemon; its process number."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        question = json.dumps({"argv": list(argv), "environment": dict(environment), "log": str(log)}) + "\n"
        with self._asking:
            asked.write(question)
            asked.flush()
            answer = answers.readline()
        assert answer, f"the nursery ended:\n{tail(self._log)}"
        return int(answer)

    def close(self) -> None:
        """End it, and all that it has forked."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait(30)


def exit_file(log: Path) -> Path:
    """Where the exit code of the daemon that logs to `log` is written."""
    return log.with_suffix(".exit")


def _serve() -> None:
    _import()
    children: dict[int, Path] = {}
    source, rest = sys.stdin.fileno(), b""
    while True:
        if select.select([source], [], [], 0.01)[0]:
            data = os.read(source, 1 << 16)
            if not data:
                break
            rest += data
        while b"\n" in rest:
            line, _, rest = rest.partition(b"\n")
            asked = json.loads(line)
            log = Path(asked["log"])
            pid = os.fork()
            if pid == 0:
                _become(asked, log)
            children[pid] = log
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


def _become(asked: Any, log: Path) -> None:
    """In the child: run the command as a process of its own would."""
    code = 70
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((null, 0), (out, 1), (out, 2)):
            os.dup2(old, new)
        os.closerange(3, 256)
        os.environ.clear()
        os.environ.update(asked["environment"])
        sys.argv = ["skyburst", *asked["argv"]]
        from crash.entry import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def _import() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from random import Random

    import crash.entry  # noqa: F401
    from crash.packets import Packets

    import consumers.ingest.build
    import consumers.ingest.run  # noqa: F401
    import stream.alertdb.store
    import stream.cli.group
    import stream.tables.engine
    import stream.transport.kafka  # noqa: F401
    from stream.codec.decoder import Decoder
    from stream.codec.sources import open_schemas
    from stream.survey import load_survey

    decoder = Decoder(open_schemas(None), load_survey("lsst").paths)
    value = Packets(Random(1)).sound().value
    assert value is not None
    decoder.check([value])


if __name__ == "__main__":
    _serve()
