"""Small numbers for surveys and streams, and who this daemon is."""

from __future__ import annotations

import importlib.metadata
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.alert import Stream
from stream.commit.ledger import same_instance
from stream.errors import Fatal, Wrong
from stream.tables.model import table

_VERSION = importlib.metadata.version("skyburst")


def version() -> str:
    """The version of skyburst that writes, as it stands in each segment's header.

    That of the code that runs, whatever was installed over it since; and no file is opened for it.
    """
    return _VERSION


@dataclass(frozen=True, slots=True)
class Daemon:
    """One process start: a fresh random id each time, and the database's instance that it began with."""

    id: str
    instance: str

    @classmethod
    async def start(cls, engine: AsyncEngine) -> Daemon:
        """A new daemon on the database behind `engine`."""
        rows = table("schema_version")
        async with engine.connect() as connection:
            instance = (await connection.execute(sa.select(rows.c.instance))).scalar_one_or_none()
        if instance is None:
            raise Fatal("level1_version", "Level-1 has no schema version", "run `skyburst level1 migrate`")
        return cls(secrets.token_hex(16), instance)


async def survey_number(engine: AsyncEngine, name: str, digest: str, instance: str) -> int:
    """The number of the survey `name`, given out at its first use; the digest of its file is kept up to date.

    Raises
    ------
    Fatal
        ``level1_instance``: see `ledger.same_instance`.
    """
    surveys = table("surveys")
    number = await _number(engine, surveys, surveys.c.survey, {"name": name}, {"digest": digest}, instance)
    async with engine.begin() as connection:
        await same_instance(connection, instance)
        await connection.execute(
            sa.update(surveys).where(surveys.c.survey == number, surveys.c.digest != digest).values(digest=digest)
        )
    return number


async def named_survey(engine: AsyncEngine, name: str, instance: str) -> int:
    """The number of the survey `name`, given out at its first use; the digest of its file is its daemon's to tell.

    Raises
    ------
    Fatal
        ``level1_instance``: see `ledger.same_instance`.
    """
    surveys = table("surveys")
    return await _number(engine, surveys, surveys.c.survey, {"name": name}, {"digest": ""}, instance)


async def known_survey(engine: AsyncEngine, name: str | None) -> int:
    """The number of the survey `name`; None means the only one that the database has.

    Raises
    ------
    Wrong
        ``unknown_survey``: nothing of it was ever ingested here, or there are several and none is named.
    """
    surveys = table("surveys")
    query = sa.select(surveys.c.survey, surveys.c.name).order_by(surveys.c.survey)
    async with engine.connect() as connection:
        found = {row.name: int(row.survey) for row in await connection.execute(query)}
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None or name not in found:
        what = "no survey is named" if name is None else f"nothing of a survey {name!r} was ever ingested here"
        raise Wrong("unknown_survey", what, f"known here: {', '.join(found) or 'none'}")
    return found[name]


async def stream_number(engine: AsyncEngine, stream: Stream, instance: str) -> int:
    """The number of `stream` in its newest generation, given out at its first use; raises as `newest_generation`."""
    return (await newest_generation(engine, stream, instance))[0]


async def newest_generation(engine: AsyncEngine, stream: Stream, instance: str) -> tuple[int, Stream]:
    """The number of `stream` as the broker tells it, and the stream as the table has it.

    Where a broker lost what it had acknowledged, the same offsets of the same topic come to mean other messages: an
    operator then begins a new generation of the stream, whose topic id is the broker's with ``#1``, ``#2``, … behind.

    Raises
    ------
    Fatal
        ``level1_instance``: a number was to be given out, and the database is not `instance` any more.
    """
    while True:
        known = await streams_of(engine, stream.cluster, stream.topic)
        mine = {number: one for number, one in known.items() if told_id(one) == stream.topic_id}
        if mine:
            return max(mine.items(), key=lambda item: generation(item[1]))
        keys = {"cluster": stream.cluster, "topic": stream.topic, "topicId": stream.topic_id}
        streams = table("streams")
        await _number(engine, streams, streams.c.stream, keys, {}, instance)


async def next_generation(engine: AsyncEngine, stream: Stream, instance: str) -> tuple[int, Stream]:
    """Begin the generation after `stream` (as the table has it), or find that somebody else has.

    Raises
    ------
    Fatal
        ``level1_instance``: as `newest_generation`.
    """
    fresh = Stream(stream.cluster, stream.topic, f"{told_id(stream)}#{generation(stream) + 1}")
    keys = {"cluster": fresh.cluster, "topic": fresh.topic, "topicId": fresh.topic_id}
    streams = table("streams")
    return await _number(engine, streams, streams.c.stream, keys, {}, instance), fresh


def generation(stream: Stream) -> int:
    """Which generation of its topic a stream is: 0 as the broker made it."""
    return int(stream.topic_id.partition("#")[2] or 0)


def told_id(stream: Stream) -> str:
    """The topic id by which the broker knows a stream of any generation; base64, which has plus signs and no hash."""
    return stream.topic_id.partition("#")[0]


async def streams_of(engine: AsyncEngine, cluster: str, topic: str) -> dict[int, Stream]:
    """Every stream that was ever seen under this cluster and topic, by number: more than one after a re-creation."""
    streams = table("streams")
    query = sa.select(streams).where(streams.c.cluster == cluster, streams.c.topic == topic).order_by(streams.c.stream)
    async with engine.connect() as connection:
        return {row.stream: Stream(row.cluster, row.topic, row.topicId) for row in await connection.execute(query)}


async def streams_by_number(engine: AsyncEngine, numbers: Iterable[int]) -> dict[int, Stream]:
    """The streams that have these numbers."""
    streams = table("streams")
    query = sa.select(streams).where(streams.c.stream.in_(sorted(numbers)))
    async with engine.connect() as connection:
        return {row.stream: Stream(row.cluster, row.topic, row.topicId) for row in await connection.execute(query)}


async def _number(
    engine: AsyncEngine,
    rows: sa.Table,
    number: sa.Column[int],
    keys: dict[str, str],
    more: dict[str, str],
    instance: str,
) -> int:
    while True:
        async with engine.connect() as connection:
            found = await _find(connection, rows, number, keys)
            if found is not None:
                return found
            highest = (await connection.execute(sa.select(sa.func.max(number)))).scalar_one_or_none() or 0
        try:
            async with engine.begin() as connection:
                await same_instance(connection, instance)
                await connection.execute(sa.insert(rows), {number.name: highest + 1, **keys, **more})
        except IntegrityError:
            continue


async def _find(
    connection: AsyncConnection, rows: sa.Table, number: sa.Column[int], keys: dict[str, str]
) -> int | None:
    query = sa.select(number).where(*(rows.c[name] == value for name, value in keys.items()))
    found: int | None = (await connection.execute(query)).scalar_one_or_none()
    return found
