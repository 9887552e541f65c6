"""A rebuild of the tables of an empty database from a store's files."""

from __future__ import annotations

from pathlib import Path

from stream.alertdb.store import open_store
from stream.audit.files import open_files
from stream.audit.rebuild import Rebuild, Rebuilt, Word
from stream.cli.verify import survey_files
from stream.clock import SystemClock
from stream.config import Settings
from stream.sky import Layout
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate


async def rebuild(url: str, folder: Path, word: Word | None = None, layout: Layout | None = None) -> Rebuilt:
    """Make the tables at `url`, and fill them from the files in `folder`."""
    engine = open_engine(url)
    try:
        await migrate(engine, 20251101, 20260401)
        return await Rebuild(
            engine=engine,
            store=open_store(str(folder)),
            files=open_files(str(folder)),
            clock=SystemClock(),
            survey_files=survey_files(Settings.load({})),
            layout=layout or Layout(),
            word=word or Word(),
        ).run()
    finally:
        await engine.dispose()
