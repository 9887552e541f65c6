"""``skyburst release``: yearly catalogues into Qserv, complete, counted, resumable and proven."""

from __future__ import annotations

import click

from stream.cli.lazy import LazyCommand


@click.group()
def release() -> None:
    """Release catalogues into Qserv: describe, partition, load, publish, verify, query."""


release.add_command(LazyCommand("query", "consumers.release.query.command:query", "SQL and standard queries to Qserv."))
