"""A private MariaDB server: own data folder, own port on 127.0.0.1, one administrator with a password of its own."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pymysql

from stream.errors import Fatal
from stream.local.ports import LOOPBACK, free_ports, need_free
from stream.local.process import Process, tail

ADMINISTRATOR = "skyburst"

_INSTALL = "apt-get install mariadb-server"

_TMPDIR = "--tmpdir=../tmp"
"""Each server's own, also while it is installed: of two that shared one, one crashed with signal 11. Relative to the
data folder, where a server runs: the option is a list, with a colon between its folders."""

DEFAULTS: Mapping[str, str] = {
    "character-set-server": "utf8mb4",
    "max-connections": "200",
    "innodb-buffer-pool-dump-at-shutdown": "OFF",
    "innodb-buffer-pool-load-at-startup": "OFF",
}
"""What the server is started with beside its places; MariaDB's own defaults else (every COMMIT is synced)."""


class LocalMariadb:
    """A MariaDB server of one's own, in a folder of one's own.

    Parameters
    ----------
    folder
        Holds data, log, pid file and password (``server.json``, mode 600); made where absent.
    options
        Further server options by their long name, e.g. ``{"innodb-buffer-pool-size": "1G"}``; they win over `DEFAULTS`.
    """

    def __init__(self, folder: Path, *, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder.absolute()
        self.options = {**DEFAULTS, **(options or {})}
        self._process = Process.find(self._pid_file)
        self._place = _read_place(self.folder)

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1, the same at every start."""
        return int(self._settled["port"])

    @property
    def password(self) -> str:
        """The administrator's password, drawn when the folder was made."""
        return str(self._settled["password"])

    @property
    def running(self) -> bool:
        """Whether the server process is there."""
        return self._process is not None and self._process.alive

    @property
    def process(self) -> Process:
        """The server process, for signals."""
        if self._process is None:
            raise Fatal("mariadb_not_started", f"no MariaDB was started in {self.folder}")
        return self._process

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "mariadbd.log"

    def start(self, *, within_s: float = 60.0) -> LocalMariadb:
        """Make the data folder where absent, start the server and return once it answers a query.

        Raises
        ------
        Fatal
            ``mariadb_missing``: not installed. ``mariadb_failed``: it did not come up; the end of its log is told.
        """
        if self.running:
            return self
        server = find_program("mariadbd")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "tmp").mkdir(exist_ok=True, mode=0o700)
        if not (self.folder / "server.json").exists():
            self._install()
        need_free([self.port], "mariadb_failed", self.folder)
        first = self.folder / "first.sql"
        self._process = Process.start(
            [server, *self._arguments(first if first.exists() else None)], log=self.log, pid_file=self._pid_file
        )
        if not self._process.comes_up(self._answers, within_s):
            raise Fatal("mariadb_failed", f"MariaDB in {self.folder} did not come up:\n{tail(self.log)}")
        first.unlink(missing_ok=True)
        return self

    def stop(self, *, within_s: float = 30.0) -> None:
        """Shut the server down (SIGTERM), or kill it after `within_s` seconds."""
        if self._process is not None:
            self._process.stop(within_s)

    def kill(self) -> None:
        """Kill the server (SIGKILL): what was committed must be there after the next start."""
        self.process.kill()

    def restart(self) -> LocalMariadb:
        """Stop and start again on the same port with the same data."""
        self.stop()
        return self.start()

    def url(self, database: str, *, user: str | None = None, password: str | None = None) -> str:
        """SQLAlchemy URL (aiomysql) of one database; the administrator unless `user` and `password` are given."""
        who = f"{user}:{password or ''}" if user else f"{ADMINISTRATOR}:{self.password}"
        return f"mysql+aiomysql://{who}@{LOOPBACK}:{self.port}/{database}"

    def execute(self, statement: str, *, database: str | None = None) -> tuple[tuple[Any, ...], ...]:
        """Run one statement as administrator, committed at once; its rows."""
        with self._connect(database) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            rows: tuple[tuple[Any, ...], ...] = tuple(cursor.fetchall())
            return rows

    def create_database(self, name: str) -> None:
        """Create an empty database; it may be there already."""
        self.execute(f"CREATE DATABASE IF NOT EXISTS `{name}`")

    def drop_database(self, name: str) -> None:
        """Drop a database with all it holds; it may be absent."""
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    @property
    def _pid_file(self) -> Path:
        return self.folder / "mariadbd.pid.json"

    @property
    def _settled(self) -> dict[str, Any]:
        if not self._place:
            self._place = _read_place(self.folder)
        if not self._place:
            raise Fatal("mariadb_not_started", f"no MariaDB was started in {self.folder}")
        return self._place

    def _install(self) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        done = subprocess.run(
            [
                find_program("mariadb-install-db"),
                "--no-defaults",
                # Relative, since the script stumbles at a space in a path.
                "--datadir=./data",
                _TMPDIR,
                "--skip-test-db",
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={pwd.getpwuid(os.geteuid()).pw_name}",
                *_as_root(),
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Fatal("mariadb_failed", f"mariadb-install-db failed in {self.folder}:\n{done.stdout}{done.stderr}")
        password = secrets.token_hex(16)
        self._write_privately(
            "first.sql",
            f"CREATE USER IF NOT EXISTS '{ADMINISTRATOR}'@'{LOOPBACK}' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO '{ADMINISTRATOR}'@'{LOOPBACK}' WITH GRANT OPTION;\n",
        )
        self._write_privately("server.json", json.dumps({"port": free_ports(1)[0], "password": password}))

    def _write_privately(self, name: str, text: str) -> None:
        fresh = self.folder / f"{name}.new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        fresh.replace(self.folder / name)

    def _arguments(self, first: Path | None) -> list[str]:
        return [
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            _TMPDIR,
            # Relative to the data folder, since a socket's path may have 107 bytes only.
            "--socket=mariadbd.sock",
            f"--pid-file={self.folder / 'mariadbd.pid'}",
            f"--bind-address={LOOPBACK}",
            f"--port={self.port}",
            "--skip-name-resolve",
            *_as_root(),
            *([f"--init-file={first}"] if first else []),
            *(f"--{name}={value}" for name, value in self.options.items()),
        ]

    def _connect(self, database: str | None = None) -> pymysql.Connection[Any]:
        return pymysql.connect(
            host=LOOPBACK,
            port=self.port,
            user=ADMINISTRATOR,
            password=self.password,
            database=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except pymysql.MySQLError:
            return False
        return True


def find_program(name: str) -> str:
    """Path of a MariaDB program in PATH or /usr/sbin.

    Raises
    ------
    Fatal
        ``mariadb_missing``, with what to install.
    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin:/usr/bin")
    if found is None:
        raise Fatal("mariadb_missing", f"{name} is neither in PATH nor in /usr/sbin", f"try: {_INSTALL}")
    return found


def _read_place(folder: Path) -> dict[str, Any]:
    try:
        place: dict[str, Any] = json.loads((folder / "server.json").read_text())
    except FileNotFoundError:
        return {}
    return place


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
