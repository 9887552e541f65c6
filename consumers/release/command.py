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
release.add_command(
    LazyCommand(
        "publish", "consumers.release.publish.command:publish", "Publish a loaded release, with indexes and counts."
    )
)
release.add_command(
    LazyCommand("verify", "consumers.release.publish.command:verify", "What of a release in Qserv is as it should be.")
)
release.add_command(LazyCommand("status", "consumers.release.publish.command:status", "How far a release is."))
release.add_command(
    LazyCommand(
        "rebuild", "consumers.release.publish.command:rebuild", "An empty Qserv, from files and manifests alone."
    )
)
release.add_command(LazyCommand("unpublish", "consumers.release.publish.command:unpublish", "Take a publication back."))
release.add_command(
    LazyCommand("replace", "consumers.release.publish.command:replace", "Drop a table, to load it anew.")
)
release.add_command(
    LazyCommand("delete", "consumers.release.publish.command:delete", "Drop a release's database from Qserv.")
)
release.add_command(
    LazyCommand(
        "partition", "consumers.release.partition.command:partition", "A table's catalogue into Qserv's chunk files."
    )
)
