"""The pair that `skyburst local` keeps in one folder: a broker and a database, left running between commands."""

from __future__ import annotations

import fcntl
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.errors import Transient
from stream.local.kafka import LocalKafka
from stream.local.mariadb import LocalMariadb

DATABASE = "level1"


class LocalServers:
    """One Kafka and one MariaDB in `at`, found again by their pid files whoever started them.

    Parameters
    ----------
    at
        Folder of both; made by `up` where absent. Data stay there when the servers are stopped.
    jars
        As of `LocalKafka`.
    """

    def __init__(self, at: Path, jars: Path | None = None) -> None:
        self.at = at.absolute()
        self.kafka = LocalKafka(self.at / "kafka", jars)
        self.mariadb = LocalMariadb(self.at / "mariadb")

    @property
    def running(self) -> bool:
        """Whether both are up."""
        return self.kafka.running and self.mariadb.running

    def up(self) -> None:
        """Start what does not run; after an error nothing is left running."""
        self.at.mkdir(parents=True, exist_ok=True)
        with self._alone():
            try:
                self.mariadb.start()
                self.mariadb.create_database(DATABASE)
                self.kafka.start()
            except BaseException:
                self._stop()
                raise

    def down(self) -> list[int]:
        """Stop the processes of this folder, no others; the numbers of those that ran."""
        if not self.at.is_dir():
            return []
        with self._alone():
            return self._stop()

    def exports(self) -> list[str]:
        """Shell lines that point skyburst's settings at the pair.

        Raises
        ------
        Transient
            ``local_down``: one of the two does not run.
        """
        if not self.running:
            raise Transient("local_down", f"no servers run in {self.at}", "start them with: skyburst local up")
        settings = {"SKYBURST_BOOTSTRAP": self.kafka.bootstrap, "SKYBURST_LEVEL1": self.mariadb.url(DATABASE)}
        return [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]

    def _stop(self) -> list[int]:
        running = [server for server in (self.kafka, self.mariadb) if server.running]
        for server in running:
            server.stop()
        return [server.process.pid for server in running]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.at / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.kafka = LocalKafka(self.kafka.folder, self.kafka.jars)
            self.mariadb = LocalMariadb(self.mariadb.folder)
            yield
