"""``skyburst settings``: every setting, its names, and what it is now."""

from __future__ import annotations

import click

from stream.cli.options import json_option, shared_options
from stream.cli.output import show
from stream.config import IngestSettings, Settings, describe_settings
from stream.layers import Layered


@click.command()
@shared_options
@json_option
def settings(settings: Settings, as_json: bool) -> None:
    """Every setting: what it is now, from flags, environment and config file; passwords are not shown."""
    ingest = IngestSettings.load(config=settings.config)
    rows = [*_rows(settings), *_rows(ingest)]
    show(rows, columns=("key", "value", "flag", "environment", "what"), as_json=as_json, title="settings")


def _rows(of: Layered) -> list[dict[str, object]]:
    return [
        {
            "key": doc.key,
            "value": _shown(getattr(of, doc.name)),
            "flag": doc.flag,
            "environment": doc.env,
            "what": doc.doc,
        }
        for doc in describe_settings(type(of))
        if doc.key
    ]


def _shown(value: object) -> str | None:
    if isinstance(value, tuple):
        return ",".join(value)
    return None if value is None else str(value)
