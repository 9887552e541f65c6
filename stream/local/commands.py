"""`skyburst local up|down|env`: real servers of one's own, for trying out, tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

import click

from stream.local.servers import LocalServers

_at = click.option(
    "--at",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".local/skyburst"),
    show_default=True,
    help="Folder of the servers' data, logs and pid files.",
)


@click.group()
def local() -> None:
    """Real Kafka and MariaDB as private processes on 127.0.0.1, in a folder of their own.

    They keep running after the command ends; `eval "$(skyburst local up)"` points this shell's settings at them.
    """


@local.command()
@_at
def up(at: Path) -> None:
    """Start the servers (what already runs is left alone) and print the settings that point at them."""
    click.echo(f"starting MariaDB and Kafka in {at} (the first time, Kafka's jars are fetched)", err=True)
    servers = LocalServers(at)
    servers.up()
    _print(servers)


@local.command()
@_at
def down(at: Path) -> None:
    """Stop the servers of this folder and no others; their data stay."""
    stopped = LocalServers(at).down()
    click.echo(f"stopped {' and '.join(map(str, stopped))}" if stopped else f"no servers run in {at}", err=True)


@local.command()
@_at
def env(at: Path) -> None:
    """Print the settings that point at the running servers."""
    _print(LocalServers(at))


def _print(servers: LocalServers) -> None:
    for line in servers.exports():
        click.echo(line)
