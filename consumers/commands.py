"""The verbs of the consumers."""

from __future__ import annotations

import click

from stream.cli.lazy import LazyCommand

commands: list[click.Command] = [
    LazyCommand("ingest", "consumers.ingest.command:ingest", "The daemon: alerts from Kafka into AlertDB and Level-1."),
    LazyCommand("quarantine", "consumers.quarantine:quarantine", "Packets that could not be taken: list, re-drive."),
    LazyCommand("release", "consumers.release.command:release", "Release catalogues into Qserv, and queries."),
]
