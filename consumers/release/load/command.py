"""``skyburst release load``: a partitioned release into Qserv, planned first, exactly once."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from consumers.release.settings import ReleaseSettings, release_options
from stream.cli.options import json_option
from stream.cli.output import show, show_json

if TYPE_CHECKING:
    from consumers.release.load.loader import Loaded
    from consumers.release.load.plan import Plan
    from consumers.release.load.progress import Progress

_COLUMNS = ("table", "role", "chunks", "transactions", "contributions", "files", "rows", "MB", "seconds")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Print what would be loaded, and touch nothing.")
@click.option(
    "--take-over", is_flag=True, help="Abort what another ledger of skyburst left open; only where that is lost."
)
@click.option("--metrics", type=click.Path(path_type=Path), help="Write metrics here, for node_exporter's textfiles.")
@release_options
@json_option
def load(
    folder: Path, dry_run: bool, take_over: bool, metrics: Path | None, settings: ReleaseSettings, as_json: bool
) -> None:
    """Load a partitioned release, FOLDER, into Qserv.

    It may be killed and started again at any time, and started more than once at a time. Nothing is committed unless
    every file was loaded whole and without a warning. Exit code 1 where something was refused.
    """
    from consumers.release.load.opening import cutting
    from consumers.release.load.plan import plan
    from consumers.release.load.release import check_places, read

    release = read(folder)
    check_places(release)
    planned = plan(release, cutting(settings))
    if dry_run:
        show_plan(planned, as_json=as_json)
        return
    loaded = asyncio.run(_load(planned, settings, take_over, metrics, quiet=as_json))
    show_loaded(loaded, as_json=as_json)
    if not loaded.complete:
        from consumers.release.load.loader import refused

        raise refused(loaded)


def progress(quiet: bool) -> Any:
    """A context that gives the `Progress` of this terminal, or of a pipe."""
    from consumers.release.load.progress import Bar, Lines, Silent

    if quiet:
        return nullcontext(Silent())
    return Bar() if sys.stderr.isatty() else nullcontext(Lines())


async def _load(plan: Plan, settings: ReleaseSettings, take_over: bool, metrics: Path | None, *, quiet: bool) -> Loaded:
    from consumers.release.load.loader import Loader
    from consumers.release.load.measuring import Measured
    from consumers.release.load.opening import opened

    with progress(quiet) as shown:
        measured: Progress = Measured(shown, metrics)
        async with opened(plan.release, settings, progress=measured) as world:
            return await Loader(world, plan).run(take_over=take_over)


def plan_rows(plan: Plan) -> list[dict[str, object]]:
    """The plan, one row a table and one for all."""
    from consumers.release.load.plan import Costs, Plan, described

    rows = []
    for name, each in plan.release.tables.items():
        transactions = plan.of(name)
        rows.append(
            {
                "table": name,
                "role": described(each.table),
                "chunks": len({chunk for one in transactions for chunk in one.chunks}) if each.table.partitioned else 0,
                "transactions": len(transactions),
                "contributions": sum(len(one.contributions) for one in transactions),
                "files": len(each.manifest.files),
                "rows": sum(one.rows for one in transactions),
                "MB": round(sum(one.bytes for one in transactions) / 1e6, 3),
                "seconds": round(Plan(plan.release, tuple(transactions)).seconds(Costs()), 1),
            }
        )
    total: dict[str, object] = {name: sum(row[name] for row in rows) for name in _COLUMNS[3:8]}  # type: ignore[misc]
    every = {"table": "all", "role": "", "chunks": plan.chunks, **total, "seconds": round(plan.seconds(), 1)}
    return [*rows, every | {"MB": round(sum(one.bytes for one in plan.transactions) / 1e6, 3)}]


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print the plan."""
    layout = plan.release.layout
    if as_json:
        cut = layout and {"stripes": layout.stripes, "sub_stripes": layout.sub_stripes, "overlap": layout.overlap}
        transactions = [
            {"table": each.table, "key": each.key, "contributions": len(each.contributions)}
            | {"rows": each.rows, "bytes": each.bytes}
            for each in plan.transactions
        ]
        told = {"database": plan.release.database.name, "layout": cut, "tables": plan_rows(plan)}
        show_json(told | {"transactions": transactions})
        return
    show(plan_rows(plan), columns=_COLUMNS, as_json=False, title=f"database {plan.release.database.name}")


def show_loaded(loaded: Loaded, *, as_json: bool) -> None:
    """Print what stands."""
    rows: dict[str, dict[str, Any]] = {}
    for each in loaded.standings:
        row = rows.setdefault(
            each.table, {"table": each.table, "transactions": 0, "committed": 0, "failed": 0, "rows": 0, "MB": 0.0}
        )
        row["transactions"] += 1
        row["committed"] += each.state == "committed"
        row["failed"] += each.state == "failed"
        row["rows"] += each.rows if each.state == "committed" else 0
        row["MB"] = round(row["MB"] + (each.bytes / 1e6 if each.state == "committed" else 0.0), 3)
    if as_json:
        failed = [
            {"table": each.table, "code": each.code, "error": each.error} for each in loaded.standings if each.code
        ]
        show_json({"complete": loaded.complete, "tables": list(rows.values()), "failed": failed})
        return
    columns = ("table", "transactions", "committed", "failed", "rows", "MB")
    show(list(rows.values()), columns=columns, as_json=False)
