"""``skyburst release publish``, ``verify``, ``status``, ``rebuild``, ``unpublish``, ``replace`` and ``delete``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from consumers.release.load.command import progress
from consumers.release.settings import ReleaseSettings, release_options
from stream.cli.exits import NO
from stream.cli.options import json_option
from stream.cli.output import show, show_fields, show_json
from stream.errors import Wrong

if TYPE_CHECKING:
    from consumers.release.load.world import World
    from consumers.release.publish.publishing import Wishes

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_FOLDER = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
_YES = click.option("--yes", is_flag=True, help="Do it: what is taken away is gone from Qserv.")


def wishes_options(function: F) -> F:
    """Give a verb ``--index``, ``--scan-rating`` and ``--no-deploy``, handed over as those."""
    for option in (
        click.option("--deploy/--no-deploy", default=True, help="Give the row counts to the query planner."),
        click.option(
            "--scan-rating",
            "ratings",
            metavar="TABLE=N",
            multiple=True,
            help="How slow a scan is, 1 to 3; 1 of directors and 2 of others if not given.",
        ),
        click.option(
            "--index",
            "indexed",
            metavar="TABLE.COLUMN",
            multiple=True,
            help="A further index, beside those of the keys; TABLE.COLUMN+COLUMN of two.",
        ),
    ):
        function = option(function)
    return function


def _wishes(indexed: tuple[str, ...], ratings: tuple[str, ...], deploy: bool, settings: ReleaseSettings) -> Wishes:
    from consumers.release.publish.publishing import Wishes

    found = []
    for each in indexed:
        table, _, columns = each.partition(".")
        if not table or not columns:
            raise Wrong("setting", f"--index {each} is not TABLE.COLUMN", "e.g. --index Object.tract")
        found.append((table, tuple(columns.split("+"))))
    rated = {}
    for each in ratings:
        table, _, number = each.partition("=")
        if number not in ("1", "2", "3"):
            raise Wrong("setting", f"--scan-rating {each} is not TABLE=1, 2 or 3", "e.g. --scan-rating Source=2")
        rated[table] = int(number)
    return Wishes(tuple(found), rated, deploy, settings.release_publish_s)


def _sure(yes: bool, what: str) -> None:
    if not yes:
        raise Wrong("release_not_sure", f"this would {what}", "add --yes to do it")


def _run(folder: Path, settings: ReleaseSettings, work: Callable[[World], Awaitable[T]], *, quiet: bool = False) -> T:
    from consumers.release.load.opening import opened
    from consumers.release.load.release import read

    async def run() -> T:
        release = read(folder)
        with progress(quiet) as shown:
            async with opened(release, settings, progress=shown) as world:
                await world.ledger.make()
                return await work(world)

    return asyncio.run(run())


@click.command()
@_FOLDER
@wishes_options
@release_options
def publish(
    folder: Path, indexed: tuple[str, ...], ratings: tuple[str, ...], deploy: bool, settings: ReleaseSettings
) -> None:
    """Publish a loaded release, FOLDER, with its indexes, and hold the rows of each chunk against the manifest.

    May be said again at any time; what is done is recognised.
    """
    from consumers.release.publish.publishing import publish

    wishes = _wishes(indexed, ratings, deploy, settings)
    _run(folder, settings, lambda world: publish(world, wishes))
    click.echo("published")


@click.command()
@_FOLDER
@click.option("--recount/--no-recount", default=True, help="Have the workers count their rows anew.")
@click.option("--files", is_flag=True, help="Hold the files on disk against the manifest, too.")
@wishes_options
@release_options
@json_option
def verify(
    folder: Path,
    recount: bool,
    files: bool,
    indexed: tuple[str, ...],
    ratings: tuple[str, ...],
    deploy: bool,
    settings: ReleaseSettings,
    as_json: bool,
) -> None:
    """Say what of a release in Qserv is as it should be; exit code 1 where anything is not."""
    from consumers.release.publish.verifying import Thoroughness, verify

    wishes = _wishes(indexed, ratings, deploy, settings)
    thoroughness = Thoroughness(recount=recount, files=files)
    checks = _run(folder, settings, lambda world: verify(world, wishes, thoroughness), quiet=as_json)
    rows = [{**asdict(each), "good": "yes" if each.good else "NO"} for each in checks]
    if as_json:
        show_json({"good": all(each.good for each in checks), "checks": [asdict(each) for each in checks]})
    else:
        show(rows, columns=("good", "table", "what", "wanted", "found"), as_json=False)
    if not all(each.good for each in checks):
        sys.exit(NO)


@click.command()
@_FOLDER
@release_options
@json_option
def status(folder: Path, settings: ReleaseSettings, as_json: bool) -> None:
    """Say how far a release is: what is loaded, what failed and why, and whether it is published.

    Without --qserv, only the ledger is asked.
    """
    from consumers.release.publish.standing import standing

    ask = settings.qserv is not None
    settings = settings if ask else settings.model_copy(update={"qserv": "http://nowhere"})
    found = _run(folder, settings, lambda world: standing(world, ask=ask), quiet=True)
    if as_json:
        show_json(asdict(found))
        return
    rows = [
        {**asdict(each), "states": " ".join(f"{name}:{count}" for name, count in each.states.items())}
        | {"MB": round(each.bytes_committed / 1e6, 3), "errors": "; ".join(each.errors[:1])}
        for each in found.tables
    ]
    show(rows, columns=("table", "transactions", "states", "rows", "rows_committed", "MB", "errors"), as_json=False)
    said = {"published": "not known" if found.published is None else found.published}
    show_fields(
        said
        | {"open transactions": ", ".join(map(str, found.open_transactions)) or "none"}
        | {name: state for name, state in found.steps.items() if state != "done"},
        as_json=False,
    )


@click.command()
@_FOLDER
@wishes_options
@release_options
@json_option
def rebuild(
    folder: Path,
    indexed: tuple[str, ...],
    ratings: tuple[str, ...],
    deploy: bool,
    settings: ReleaseSettings,
    as_json: bool,
) -> None:
    """Bring an empty Qserv to the state that it had, from the files and manifests of FOLDER alone.

    The files are held against the manifest first. One that was interrupted goes on where it was.
    """
    from consumers.release.load.opening import cutting
    from consumers.release.load.plan import plan
    from consumers.release.publish.rebuilding import rebuild

    wishes = _wishes(indexed, ratings, deploy, settings)
    _run(
        folder,
        settings,
        lambda world: rebuild(world, plan(world.release, cutting(settings)), wishes),
        quiet=as_json,
    )
    if as_json:
        show_json({"rebuilt": True})
    else:
        click.echo("rebuilt")


@click.command()
@_FOLDER
@_YES
@release_options
def unpublish(folder: Path, yes: bool, settings: ReleaseSettings) -> None:
    """Take the publication of a release back; needs the administrator's key."""
    from consumers.release.publish.removing import unpublish

    _sure(yes, "take the release away from everybody who queries it")
    done = _run(folder, settings, unpublish)
    click.echo("unpublished" if done else "was not published")


@click.command()
@_FOLDER
@click.argument("table")
@_YES
@release_options
def replace(folder: Path, table: str, yes: bool, settings: ReleaseSettings) -> None:
    """Drop TABLE of a release from Qserv, unpublished for it, so that `load` and `publish` bring the new one.

    Needs the administrator's key.
    """
    from consumers.release.publish.removing import replace

    _sure(yes, f"drop table {table}, and unpublish the release")
    _run(folder, settings, lambda world: replace(world, table))
    click.echo(f"{table} is gone: run release load, then release publish")


@click.command()
@_FOLDER
@_YES
@release_options
def delete(folder: Path, yes: bool, settings: ReleaseSettings) -> None:
    """Drop a release's database from Qserv; one that is published needs the administrator's key.

    The files stay, and `rebuild` brings it back.
    """
    from consumers.release.publish.removing import delete

    _sure(yes, "drop the whole database from Qserv")
    done = _run(folder, settings, delete)
    click.echo("deleted" if done else "was not there")
