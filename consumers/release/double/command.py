"""`skyburst release double`: a double of Qserv's ingest service to try the other verbs on."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shlex
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import httpx

from consumers.release.double.service import QservDouble
from stream.errors import Fatal
from stream.local import LocalMariadb
from stream.local.ports import LOOPBACK, free_ports
from stream.local.process import Process, tail

STARTED_WITHIN_S = 90.0


@dataclass(frozen=True, slots=True)
class Place:
    """Keys and ports of a folder's double, the same at every start."""

    workers: int
    ports: list[int]
    auth_key: str
    admin_auth_key: str

    @property
    def url(self) -> str:
        """Of the controller."""
        return f"http://{LOOPBACK}:{self.ports[0]}"

    def answers(self) -> bool:
        """Whether the last of its workers, which comes up last, is there."""
        try:
            return httpx.get(f"http://{LOOPBACK}:{self.ports[-1]}/meta/version", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False


@click.command()
@click.option(
    "--at",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".local/qserv-double"),
    show_default=True,
    help="Folder of its MariaDB, journal, keys and log.",
)
@click.option("--workers", type=click.IntRange(1, 32), default=2, show_default=True, help="How many workers, at first.")
@click.option("--stop", is_flag=True, help="Stop the double of this folder; what was loaded stays.")
@click.option("--foreground", is_flag=True, help="Serve until interrupted, and not in the background.")
@click.option("--sql", "database", metavar="DATABASE", help="Print where release query finds a published database.")
def double(at: Path, workers: int, stop: bool, foreground: bool, database: str | None) -> None:
    """Start a double of Qserv's ingest service on 127.0.0.1, with two workers in a MariaDB of its own.

    It keeps running after the command ends; `eval "$(skyburst release double)"` points this shell's settings at it.
    """
    at = at.absolute()
    at.mkdir(parents=True, exist_ok=True)
    running = Process.find(at / "double.pid.json")
    if stop:
        if running is not None:
            running.stop(30.0)
        click.echo(f"stopped {running.pid}" if running else f"no double runs in {at}", err=True)
        return
    if database is not None:
        from consumers.release.double.asking import gather

        if running is None:
            raise Fatal("double_failed", f"no double runs in {at}", "start it: skyburst release double")
        click.echo(f"export SKYBURST_QSERV_SQL={shlex.quote(gather(LocalMariadb(at / 'mariadb'), database))}")
        click.echo("export SKYBURST_QSERV_SQL_PLAIN=true")
        return
    place = _place(at / "double.json", workers)
    if foreground and (running is None or running.pid == os.getpid()):
        asyncio.run(_serve(at, place))
        return
    if running is None:
        _in_background(at, place)
    _print(place)


def _in_background(at: Path, place: Place) -> None:
    click.echo(f"starting MariaDB and the double in {at}", err=True)
    command = [sys.executable, "-m", "consumers.release.double.command", "--foreground", "--at", str(at)]
    log = at / "double.log"
    process = Process.start(command, log=log, pid_file=at / "double.pid.json")
    if not process.comes_up(place.answers, STARTED_WITHIN_S):
        raise Fatal("double_failed", f"the double in {at} did not come up:\n{tail(log)}", f"read {log}")


async def _serve(at: Path, place: Place) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with QservDouble.start(at, keep=True, **asdict(place)):
        _print(place)
        await stop.wait()


def _print(place: Place) -> None:
    for name, value in (
        ("SKYBURST_QSERV", place.url),
        ("SKYBURST_QSERV_AUTH_KEY", place.auth_key),
        ("SKYBURST_QSERV_ADMIN_KEY", place.admin_auth_key),
    ):
        click.echo(f"export {name}={shlex.quote(value)}")


def _place(path: Path, workers: int) -> Place:
    if path.exists():
        return Place(**json.loads(path.read_text()))
    place = Place(workers, free_ports(workers + 1), secrets.token_hex(16), secrets.token_hex(16))
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(asdict(place)))
    return place


if __name__ == "__main__":
    double()
