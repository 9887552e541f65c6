"""``skyburst release partition``: a table's catalogue into chunk files, with its manifest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stream.cli.options import json_option
from stream.cli.output import show_fields

if TYPE_CHECKING:
    from consumers.release.partition.job import Job
    from consumers.release.partition.run import Outcome
    from stream.sky import Layout

F = TypeVar("F", bound=Callable[..., Any])

_CHARACTERS = {"tab": "\t", r"\t": "\t", "comma": ",", "pipe": "|", "none": "", "backslash": "\\"}
_BETWEEN = "Between the fields of CSV files: tab, comma, or another character."
_BEFORE = "Before a character of CSV files that stands for itself: backslash, none, or another."


def _character(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """One character, or its name."""
    if value is None:
        return None
    character = _CHARACTERS.get(value.lower(), value)
    if len(character.encode()) > 1:
        raise click.BadParameter(f"{value!r} is not one character, tab or none", context, option)
    return character


def _csv_option(name: str, default: str | None, text: str) -> Callable[[F], F]:
    return click.option(name, default=default, show_default=True, callback=_character, metavar="CHARACTER", help=text)


@click.command()
@click.argument("description", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("table")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", "release", required=True, type=click.Path(path_type=Path), help="The release's folder.")
@click.option("--stripes", type=click.IntRange(1), help="Stripes of the sky; those of its director, else 340.")
@click.option("--sub-stripes", type=click.IntRange(1), help="Sub-stripes of each; those of its director, else 3.")
@click.option("--overlap", type=float, help="Degrees of overlap; those of its director, else 0.01667.")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, tcp://HOST:8786; else this machine's cores.")
@click.option("--workers", type=click.IntRange(1), help="Workers on this machine; one a core if not given.")
@click.option("--hdu", type=click.IntRange(1), help="The HDU of FITS files with the table, where several could be.")
@_csv_option("--csv-delimiter", None, f"{_BETWEEN}  [default: a comma; a tab for .tsv]")
@_csv_option("--csv-quote", '"', "Around fields of CSV files, or none.")
@_csv_option("--csv-escape", None, f"{_BEFORE}  [default: backslash, and a word where it matters]")
@click.option(
    "--csv-null",
    multiple=True,
    default=("\\N",),
    show_default=True,
    help="A spelling of NULL in any column of CSV; may be said more than once.",
)
@click.option("--csv-header", is_flag=True, help="The first line of CSV files has the names of the columns.")
@click.option("--anew", is_flag=True, help="Forget what the table's folder has, and begin again.")
@json_option
def partition(
    description: Path,
    table: str,
    files: tuple[Path, ...],
    release: Path,
    stripes: int | None,
    sub_stripes: int | None,
    overlap: float | None,
    scheduler: str | None,
    workers: int | None,
    hdu: int | None,
    csv_delimiter: str | None,
    csv_quote: str,
    csv_escape: str | None,
    csv_null: tuple[str, ...],
    csv_header: bool,
    anew: bool,
    as_json: bool,
) -> None:
    """Cut TABLE of the felis file DESCRIPTION, whose rows are in FILES, into Qserv's chunk files.

    FILES are Parquet, FITS or CSV. It may be killed at any time: run again, it goes on where it was.
    """
    from consumers.release.description import felis_file
    from consumers.release.partition.csv_dialect import CsvDialect
    from consumers.release.partition.job import layout_of, prepare
    from consumers.release.reading import csv_form

    csv_delimiter = csv_form(files[0]).delimiter if csv_delimiter is None else csv_delimiter
    target = csv_delimiter if csv_delimiter in (",", "\t") else ","
    escape = "\\" if csv_escape is None else csv_escape
    csv = CsvDialect(csv_delimiter, csv_quote, escape, csv_null, csv_header, target)
    described = felis_file.read(description).table(table)
    layout = layout_of(described, release, (stripes, sub_stripes, overlap))
    job = prepare(described, layout, release / table, [str(file) for file in files], csv, hdu)
    if csv_escape is None:
        _tell_of_backslashes(job)
    _show(_run(job, description.read_bytes(), scheduler, workers, anew, as_json), job.folder, as_json=as_json)


def _tell_of_backslashes(job: Job) -> None:
    from consumers.release.partition.csv_opening import backslash_in

    for source in job.sources:
        shown = backslash_in(Path(source.path), job.csv) if source.form == "csv" else None
        if shown is not None:
            text = f"skyburst: {source.name}: a backslash ({shown!r}) escapes what follows, as for Qserv's partitioner"
            click.echo(f"{text}; where it stands for itself say --csv-escape none, and --anew", err=True)
            return


def _run(job: Job, description: bytes, scheduler: str | None, workers: int | None, anew: bool, quiet: bool) -> Outcome:
    from consumers.release.partition.cluster import open_workers
    from consumers.release.partition.run import partition as run
    from stream.collecting import collect_from_here

    with _progress(quiet, job.table.name) as shown, open_workers(scheduler, workers) as opened:
        collect_from_here()
        return run(job, description, opened, shown, anew=anew)


def _progress(quiet: bool, table: str) -> Any:
    from consumers.release.partition.progress import Bar, Lines, Silent

    if quiet:
        return nullcontext(Silent())
    return Bar(table) if sys.stderr.isatty() else nullcontext(Lines(table))


def _show(outcome: Outcome, folder: Path, *, as_json: bool) -> None:
    manifest = outcome.manifest
    main = [file for file in manifest.files if not file.overlap]
    over = [file for file in manifest.files if file.overlap]
    told: dict[str, object] = {
        "table": manifest.table,
        "folder": str(folder),
        "chunks": len(manifest.chunks) if manifest.layout else 0,
        "files": len(manifest.files),
        "rows read": manifest.rows,
        "rows written": sum(file.rows for file in main),
        "overlap rows": sum(file.rows for file in over),
        "bytes": sum(file.bytes for file in manifest.files),
        "rejected": sum(manifest.rejected.values()),
        "pieces cut": outcome.cut,
        "pieces kept": outcome.kept,
    }
    if as_json:
        layout: Layout | None = manifest.layout
        cut = layout and {"stripes": layout.stripes, "sub_stripes": layout.sub_stripes, "overlap": layout.overlap}
        told = {key.replace(" ", "_"): value for key, value in told.items()}
        told |= {"rejected_by_reason": manifest.rejected, "layout": cut, "dialect": asdict(manifest.dialect)}
    elif manifest.rejected:
        told["rejected as"] = ", ".join(f"{reason} {count}" for reason, count in manifest.rejected.items())
        told["listed in"] = str(folder / "rejects.csv")
    show_fields(told, as_json=as_json)
