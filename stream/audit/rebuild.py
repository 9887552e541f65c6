"""Rebuilding: Level-1, its ledger and all that stands beside it, made from the segments alone into an empty database.

::

    look      every file is read and held against its digests; which batches are intact
    order     commits that are whole, contiguous in every partition; nothing beyond a gap without an operator's word
    copy      open segments are sealed by copying, under fresh numbers, before anything of them is taken
    renew     the database gets a new instance id, and a version that no daemon runs on until all is done
    take      commit by commit, in that order, the rows that each one's transaction wrote
    finish    surveys, streams, segments; the version that daemons run on
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from stream.alertdb.port import SegmentStore
from stream.alertdb.segment import Sealed, SegmentRef
from stream.audit.catalogue import Catalogue
from stream.audit.files import Files
from stream.audit.found import Lying, look
from stream.audit.headers import Surveys, as_it_is, newest, segment_rows, stream_rows, survey_rows, surveys_of
from stream.audit.notes import Range
from stream.audit.order import Gap, Order, Take
from stream.audit.stored import Place
from stream.audit.taking import Names, Taking
from stream.clock import Clock
from stream.commit import ledger
from stream.commit.bare import night_at
from stream.commit.batch import OffsetRange, fresh_number
from stream.commit.committer import Committer
from stream.commit.gap import Where, accept_gap
from stream.commit.identity import Daemon
from stream.commit.sealing import seal
from stream.commit.segments import OpenSegments
from stream.errors import Fatal, Held, SkyburstError
from stream.level1.write import statement_limit
from stream.sky import Layout
from stream.survey import Survey
from stream.tables.engine import unhurried
from stream.tables.migrate import check, renew_instance
from stream.tables.model import UNFINISHED, Version, table, version
from stream.tables.trouble import translated

KEPT = ("schema_version", "quarantine_allowance", "visits", "detector_closed")
"""Tables that a rebuild leaves alone: what is in them is not in the files."""
TOGETHER = 20
"""Commits that share a transaction: nothing is lost where it fails, since all begins again."""


@dataclass(frozen=True, slots=True)
class Word:
    """What an operator says.

    Attributes
    ----------
    accepted, reason, stop
        Gaps that are accepted, why, and whether to stop at others.
    other_survey
        Whether values may be made by a survey file that is not the one that was used.
    """

    accepted: tuple[Gap, ...] = ()
    reason: str = ""
    stop: bool = False
    other_survey: bool = False


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes
    ----------
    left_out
        Commits whose parts are there and that were not taken: covered by others, or beyond a gap.
    torn
        Commits that lack a part, or whose bytes are damaged.
    gaps
        Gaps at which it stopped.
    begins
        Partitions that begin behind offset 0 with no file that tells so: whether a segment before is lost, only the
        topic and its retention can say.
    damaged
        What is wrong with files, in words.
    """

    segments: int
    commits: int
    alerts: int
    quarantined: int
    left_out: int
    torn: int
    gaps: tuple[Gap, ...]
    begins: tuple[tuple[Place, int], ...]
    damaged: tuple[str, ...]
    instance: str


@dataclass(slots=True)
class Rebuild:
    """One rebuild.

    Attributes
    ----------
    engine
        An empty database with its tables; on MariaDB with the migrate role.
    store, files
        The AlertDB, for copying and for reading.
    survey_files
        The survey files at hand, by digest, the strongest of a name last.
    layout
        How ingest cut the sky.
    say
        Called with a line on how far it is.
    """

    engine: AsyncEngine
    store: SegmentStore
    files: Files
    clock: Clock
    survey_files: Mapping[str, Survey]
    layout: Layout
    word: Word
    say: Callable[[str], None] = lambda line: None
    _copies: dict[int, Sealed] = field(default_factory=dict)

    async def run(self) -> Rebuilt:
        """Rebuild.

        Raises
        ------
        SkyburstError
            ``rebuild_not_empty``.
        Held
            ``rebuild_survey``: a survey file that was used is not at hand; ``rebuild_gap``: commits lie beyond a gap;
            nothing was written. ``rebuild_refused``, ``rebuild_layout``: the database is left unfinished, and no daemon
            runs on it.
        """
        with translated():
            async with self.engine.connect() as connection:
                await check(connection)
                await _empty(connection)
                limit = await statement_limit(connection)
        with Catalogue() as catalogue:
            lying = look(self.files, self.store.appends, catalogue)
            self.say(f"{len(lying.segments)} segments read")
            surveys = surveys_of(lying, self.survey_files, self.word.other_survey)
            torn, gaps, ends = self._order(catalogue, lying)
            if torn:
                text = f"{torn} commits lack a part: they were never published, or a part is lost or damaged"
                self.say(f"{text}; what they have is left out, and a daemon sweeps it: keep a copy first")
            begins = tuple(catalogue.untold())
            for (stream, partition), low in begins:
                text = f"stream {stream}, partition {partition} begins at offset {low}, and no file tells that it did"
                self.say(f"{text}: is a segment before it missing?")
            names = self._seal_open(catalogue, lying)
            with translated():
                async with self.engine.begin() as connection:
                    instance = await renew_instance(connection)
                    await _run_on(connection, UNFINISHED)
                    await _insert(connection, "surveys", survey_rows(lying, surveys))
                    await _insert(connection, "streams", stream_rows(lying))
                taking = Taking(catalogue, self.files, names, surveys, self.layout, limit)
                try:
                    commits = await self._take(catalogue, taking, surveys, limit)
                finally:
                    taking.close()
                await ledger.begin(self.engine, ends, instance)
                async with self.engine.begin() as connection:
                    rows = segment_rows(lying, surveys, self._sealed(lying, names), taking.messages)
                    await _insert(connection, "segments", rows)
                    await _run_on(connection, version())
            return Rebuilt(
                segments=len(names),
                commits=commits,
                alerts=taking.alerts,
                quarantined=taking.aside,
                left_out=catalogue.left_out(),
                torn=torn,
                gaps=gaps,
                begins=begins,
                damaged=tuple(lying.damaged),
                instance=instance,
            )

    def _order(self, catalogue: Catalogue, lying: Lying) -> tuple[int, tuple[Gap, ...], dict[Place, int]]:
        """Plan what is taken; gives how many commits are torn, where it stops, and where each partition ends."""
        torn = catalogue.settle(lying.retired)
        catalogue.drop_unsure()
        order = Order(catalogue, self.word.accepted)
        for step in order.walk():
            if isinstance(step, Take):
                ranges = [[r.stream, r.partition, r.start, r.end, r.records, r.tombstones] for r in step.ranges]
                catalogue.plan(step.note.commit, ranges)
            else:
                catalogue.plan(None, [[step.stream, step.partition, step.start, step.end, 0, 0]])
        gaps = tuple(order.gaps())
        if gaps and not self.word.stop:
            told = "; ".join(f"stream {g.stream}, partition {g.partition}: [{g.start}, {g.end})" for g in gaps)
            advice = (
                "find the missing segments, or say --accept-gap STREAM PARTITION START END --reason TEXT to take what "
                "is behind a gap, or --stop-at-gap to leave it out: it will be swept, and ingested again from Kafka"
            )
            raise Held("rebuild_gap", f"commits lie beyond offsets that no whole commit has: {told}", advice)
        for note in catalogue.notes():
            if not note.ranges:
                catalogue.take(note.commit)
                catalogue.plan(note.commit, [])
        return torn, gaps, order.at

    def _seal_open(self, catalogue: Catalogue, lying: Lying) -> dict[int, Names]:
        """Seal open segments by copying what is taken of them; gives where each segment's files are."""
        names = {}
        for number, found in sorted(lying.segments.items()):
            extent = catalogue.extent(number)
            if extent is None:
                continue
            if found.sealed:
                names[number] = Names(found.data_name, found.index_name, found.data_size, found.index_size)
                continue
            ref = SegmentRef(number, found.data_name, found.index_name, extent[0], extent[1])
            copy = self._copies[number] = self.store.copy(ref, fresh_number())
            names[number] = Names(copy.data_name, copy.index_name, copy.data_length, copy.index_length)
            self.say(f"open segment {number} sealed by copying")
        return names

    def _sealed(self, lying: Lying, names: Mapping[int, Names]) -> dict[int, Sealed]:
        """The files of each segment, copies included."""
        return {n: self._copies.get(n) or as_it_is(lying.segments[n], self.files) for n in names}

    async def _take(self, catalogue: Catalogue, taking: Taking, surveys: Surveys, limit: int) -> int:
        taken = 0
        waiting: list[tuple[int, Sequence[Range]]] = []
        for commit, ranges in catalogue.planned():
            if commit is None:
                taken += await self._together(catalogue, taking, waiting)
                waiting = []
                await self._gap(Range(*ranges[0]), surveys, limit)
                taken += 1
                continue
            waiting.append((commit, [Range(*one) for one in ranges]))
            if len(waiting) >= TOGETHER:
                taken += await self._together(catalogue, taking, waiting)
                waiting = []
                self.say(f"{taken} commits taken")
        return taken + await self._together(catalogue, taking, waiting)

    async def _together(
        self, catalogue: Catalogue, taking: Taking, waiting: Sequence[tuple[int, Sequence[Range]]]
    ) -> int:
        done = 0
        if waiting:
            async with self.engine.begin() as connection:
                await unhurried(connection)
                for commit, ranges in waiting:
                    done += await taking.take(connection, catalogue.note(commit), ranges)
        return done

    async def _gap(self, gap: Range, surveys: Surveys, limit: int) -> None:
        """Move over an accepted gap as an operator's verb does, so that the files tell of it, too."""
        name, number = next(iter(surveys.numbers.items()))
        survey = newest(self.survey_files, name)
        daemon = await Daemon.start(self.engine)
        segments = OpenSegments(self.store, daemon, self.clock)
        committer = Committer(
            engine=self.engine,
            segments=segments,
            daemon=daemon,
            clock=self.clock,
            tell=lambda error: None if error is None else self.say(f"waiting: {error}"),
            left=lambda mine, error: None,
            statement_bytes=limit,
        )
        where = Where(number, survey.name, survey.digest, night_at(survey, self.clock.now()))
        offsets = OffsetRange(gap.stream, gap.partition, gap.start, gap.end, 0)
        await ledger.begin(self.engine, {(gap.stream, gap.partition): gap.start}, daemon.instance)
        await accept_gap(committer, where, offsets, self.word.reason)
        for mine in segments:
            segments.forget(mine.number)
            await seal(self.engine, self.store, mine, committer.failpoints)


async def _empty(connection: AsyncConnection) -> None:
    for rows in table("ledger").metadata.tables.values():
        if rows.name in KEPT:
            continue
        query = sa.select(sa.literal(1)).select_from(rows).limit(1)
        if (await connection.execute(query)).first() is not None:
            advice = "make an empty database, run `skyburst level1 migrate`, and rebuild into that"
            raise SkyburstError("rebuild_not_empty", f"the table {rows.name} is not empty", advice)


async def _insert(connection: AsyncConnection, name: str, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        await connection.execute(sa.insert(table(name)), [dict(row) for row in rows])


async def _run_on(connection: AsyncConnection, upon: Version) -> None:
    """Set the version of the tables: no daemon runs on `UNFINISHED`, so that none begins where all is half made."""
    rows = table("schema_version")
    changed = await connection.execute(sa.update(rows).values(major=upon.major, minor=upon.minor))
    if changed.rowcount != 1:
        raise Fatal("level1_version", "Level-1 has no schema version", "run `skyburst level1 migrate`")
