"""``skyburst release``: yearly catalogues into Qserv, complete, counted, resumable and proven."""

from __future__ import annotations

import click


@click.group()
def release() -> None:
    """Release catalogues into Qserv: describe, partition, load, publish, verify, query."""
