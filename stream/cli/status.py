"""``skyburst status``: where everything stands, from the tables and, where it answers, the broker."""

from __future__ import annotations

import asyncio
from typing import Any

import click
import sqlalchemy as sa

from stream.cli.options import json_option, shared_options
from stream.cli.output import show, show_fields, show_json
from stream.config import Settings

_SEGMENTS = ("night", "kind", "state", "segments", "records", "dataBytes", "indexBytes")
_DAEMONS = ("daemon", "openSegments", "heartbeatAge")
_GAPS = ("stream", "kafkaPartition", "startOffset", "endOffset", "reason")


@click.command()
@json_option
@shared_options
def status(settings: Settings, as_json: bool) -> int:
    """Partitions, lag, segments, quarantine, daemons, accepted gaps.

    Works without a broker, and says so. Ends with 1 where a partition waits for an operator or rows fall into the
    last partition of Level-1; with 3 where the database is away.
    """
    from stream.cli.standing import COLUMNS

    found = _found(settings)
    held = any(row["held"] for row in found["partitions"])
    if as_json:
        show_json(found)
    else:
        show_fields(
            {
                "broker": found["broker"],
                "last commit, seconds ago": found["lastCommitAge"],
                "Level-1": "rows fall into the last partition: `skyburst level1 migrate`" if found["migrate"] else "ok",
            },
            as_json=False,
        )
        for name, columns in (
            ("partitions", COLUMNS),
            ("segments", _SEGMENTS),
            ("quarantine", ("code", "state", "records")),
            ("daemons", _DAEMONS),
            ("acceptedGaps", _GAPS),
        ):
            if found[name]:
                click.echo()
                show(found[name], columns=columns, as_json=False, title=name)
    return 1 if held or found["migrate"] else 0


def _found(settings: Settings) -> dict[str, Any]:
    from stream.cli.standing import Places, asked, gaps
    from stream.tables.engine import open_reader
    from stream.transport.admin import Topics
    from stream.transport.security import security_of

    url = settings.need("level1")
    engine = open_reader(url)
    try:
        due = asyncio.run(_migrate_is_due(url))
        tables = _tables(engine)
        topics = Topics(settings.need("bootstrap"), security_of(settings)) if settings.bootstrap else None
        places, away = asked(Places.read(engine), topics, settings.topic)
        accepted = gaps(engine)
    finally:
        engine.dispose()
    return {
        "broker": (f"unreachable: {away}" if settings.bootstrap else away) if away else "answers",
        "partitions": [place.row() for place in places],
        **tables,
        "acceptedGaps": accepted,
        "migrate": due,
    }


def _tables(engine: sa.Engine) -> dict[str, Any]:
    """What the tables alone tell; ages are by this machine's clock."""
    from stream.clock import SystemClock
    from stream.tables.model import table
    from stream.tables.trouble import translated

    segments, quarantine, commits = table("segments"), table("quarantine"), table("commits")
    count = sa.func.count()
    now = SystemClock().now()
    with translated(), engine.connect() as connection:
        by_night = connection.execute(
            sa.select(
                segments.c.night,
                segments.c.kind,
                segments.c.state,
                count.label("segments"),
                sa.func.sum(segments.c.records).label("records"),
                sa.func.sum(segments.c.dataLength).label("dataBytes"),
                sa.func.sum(segments.c.indexLength).label("indexBytes"),
            )
            .where(segments.c.state.not_in(("swept", "copy")))
            .group_by(segments.c.night, segments.c.kind, segments.c.state)
            .order_by(segments.c.night, segments.c.kind, segments.c.state)
        ).all()
        by_code = connection.execute(
            sa.select(quarantine.c.code, quarantine.c.state, count.label("records"))
            .group_by(quarantine.c.code, quarantine.c.state)
            .order_by(quarantine.c.code, quarantine.c.state)
        ).all()
        owners = connection.execute(
            sa.select(segments.c.owner, count.label("open"), sa.func.max(segments.c.heartbeat).label("beat"))
            .where(segments.c.state == "open")
            .group_by(segments.c.owner)
        ).all()
        last = connection.execute(sa.select(sa.func.max(commits.c.committedAt))).scalar_one_or_none()
    return {
        "lastCommitAge": None if last is None else round(max(0.0, now - last), 3),
        "segments": [_counted(row) for row in by_night],
        "quarantine": [dict(row._mapping) for row in by_code],
        "daemons": [
            {"daemon": row.owner, "openSegments": row.open, "heartbeatAge": round(max(0.0, now - row.beat), 1)}
            for row in owners
        ],
    }


def _counted(row: sa.Row[Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str) else int(value or 0) for name, value in row._mapping.items()}


async def _migrate_is_due(url: str) -> bool:
    from stream.tables.engine import open_engine
    from stream.tables.migrate import check
    from stream.tables.nights import rows_in_last
    from stream.tables.trouble import translated

    engine = open_engine(url, readonly=True)
    try:
        with translated():
            async with engine.connect() as connection:
                await check(connection)
                return await rows_in_last(connection)
    finally:
        await engine.dispose()
