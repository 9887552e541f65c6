"""`skyburst ingest` as a process of its own with stock settings, and what it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.local.process import tail
from tests.bench.place import Place
from tests.bench.process import cpu_seconds, peak_bytes

COMMAND = [sys.executable, "-m", "stream.cli", "ingest"]
SAMPLE_S = 0.1


class Daemon:
    """One daemon; CPU and memory are noted while it lives."""

    def __init__(self, place: Place) -> None:
        self.log = place.folder / "ingest.log"
        self.started = time.time()
        with self.log.open("ab") as out:
            self._child = subprocess.Popen(
                COMMAND,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._child.pid
        self.peak = 0
        self._samples: list[tuple[float, float]] = []
        self._sampler = threading.Thread(target=self._sample, name="sampler", daemon=True)
        self._sampler.start()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._child.poll() is None

    def cpu_until(self, instant: float) -> float:
        """CPU seconds from its start to an instant (seconds since 1970 UTC)."""
        return max((cpu for at, cpu in self._samples if at <= instant), default=0.0)

    def end(self, within_s: float = 60.0) -> int:
        """SIGTERM; the exit code once it has drained and sealed."""
        self._child.send_signal(signal.SIGTERM)
        code = self._child.wait(within_s)
        self._sampler.join()
        return code

    def kill(self) -> None:
        """SIGKILL, where it still runs."""
        if self.alive:
            self._child.kill()
        self._child.wait()
        self._sampler.join()

    def _sample(self) -> None:
        while self.alive:
            try:
                self.peak = max(self.peak, peak_bytes(self.pid))
                self._samples.append((time.time(), cpu_seconds(self.pid)))
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(SAMPLE_S)


@contextmanager
def daemon_on(place: Place) -> Iterator[Daemon]:
    """A daemon on `place`, which never outlives the block; its last lines are shown where the block fails."""
    daemon = Daemon(place)
    try:
        yield daemon
    except BaseException:
        print(tail(daemon.log, 20))
        raise
    finally:
        daemon.kill()


def _environment(place: Place) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
    return {
        **keep,
        **{name: value for name, value in os.environ.items() if name.startswith("SKYBURST_INGEST_")},
        "SKYBURST_BOOTSTRAP": place.bootstrap,
        "SKYBURST_TOPIC": place.topic,
        "SKYBURST_LEVEL1": place.url,
        "SKYBURST_ALERTDB": str(place.alertdb),
        "SKYBURST_SURVEY": "lsst",
        "SKYBURST_INGEST_GROUP": place.folder.name,
        "SKYBURST_INGEST_METRICS_PORT": "0",
        "PYTHONPATH": str(Path.cwd()),
    }
