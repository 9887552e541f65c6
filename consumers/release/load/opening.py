"""A loader's world, from settings."""

from __future__ import annotations

import os
import platform
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from consumers.release.load.crossing import Crossing, nothing
from consumers.release.load.files import Files
from consumers.release.load.ledger import Ledger
from consumers.release.load.plan import Cutting
from consumers.release.load.progress import Progress, Silent
from consumers.release.load.release import Release
from consumers.release.load.world import Limits, World
from consumers.release.service import Controller, Keys, Timeouts, Wire
from consumers.release.settings import ReleaseSettings
from stream.tables.engine import free_locks, open_engine

LEDGER = "load.sqlite"


def cutting(settings: ReleaseSettings) -> Cutting:
    """How large things are to be."""
    return Cutting(
        transaction_bytes=settings.release_transaction_bytes,
        least_transaction_bytes=settings.release_least_transaction_bytes,
        merge_bytes=settings.release_merge_bytes,
    )


def limits(settings: ReleaseSettings) -> Limits:
    """How much at once, and how long is waited."""
    return Limits(
        in_flight=settings.release_in_flight,
        of_worker=settings.release_worker_limit,
        by_value=settings.release_by == "value",
        transactions=settings.release_transactions,
        unreachable_s=settings.release_unreachable_s,
        readings=settings.release_readings,
        check_files=settings.release_check_files,
    )


def ledger_url(folder: Path, settings: ReleaseSettings) -> str:
    """Where the ledger is."""
    given = settings.secret("release_ledger")
    return given or f"sqlite:///{folder.absolute() / LEDGER}"


def provenance(release: Release) -> Mapping[str, object]:
    """What a transaction's context says besides: who loaded what from where."""
    return {
        "version": version("skyburst"),
        "host": platform.node(),
        "folder": str(release.folder),
        "fingerprints": {name: table.manifest.fingerprint for name, table in release.tables.items()},
    }


@asynccontextmanager
async def opened(
    release: Release,
    settings: ReleaseSettings,
    *,
    progress: Progress | None = None,
    crossing: Crossing = nothing,
) -> AsyncIterator[World]:
    """Open service and ledger, and close them at the end; neither is spoken to.

    Raises
    ------
    Wrong
        ``setting``: the controller is not given.
    """
    keys = Keys(settings.secret("qserv_auth_key"), settings.secret("qserv_admin_key"))
    wire = Wire(keys, timeouts=Timeouts(publish_s=settings.release_publish_s))
    engine = open_engine(ledger_url(release.folder, settings))
    free_locks(engine)
    holder = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"[-64:]
    try:
        yield World(
            release=release,
            controller=Controller(wire, settings.need("qserv")),
            wire=wire,
            ledger=Ledger(engine, holder, settings.release_lease_s, patience_s=settings.release_unreachable_s),
            files=Files.of(release.folder, settings.release_url),
            limits=limits(settings),
            progress=progress or Silent(),
            crossing=crossing,
            provenance=dict(provenance(release)),
        )
    finally:
        await engine.dispose()
        await wire.close()
