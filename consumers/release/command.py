"""``skyburst release``: yearly catalogues into Qserv, complete, counted, resumable and proven."""

from __future__ import annotations

import click

from stream.cli.lazy import LazyCommand


@click.group()
def release() -> None:
    """Release catalogues into Qserv: describe, partition, load, publish, verify, query."""


release.add_command(LazyCommand("query", "consumers.release.query.command:query", "SQL and standard queries to Qserv."))
release.add_command(
    LazyCommand("describe", "consumers.release.description.command:command", "A table's description, made or taken.")
)
release.add_command(
    LazyCommand(
        "double", "consumers.release.double.command:double", "A double of the ingest service, to try things on."
    )
)
release.add_command(
    LazyCommand("load", "consumers.release.load.command:load", "A partitioned release into Qserv, exactly once.")
)
