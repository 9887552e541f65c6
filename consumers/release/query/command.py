"""``skyburst release query``: SQL and standard queries, answered by Qserv."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from consumers.release.query.settings import QuerySettings
from stream.cli.options import json_option, options_of
from stream.cli.output import show

if TYPE_CHECKING:
    from consumers.release.query.frontend import Frontend
    from consumers.release.query.http import Status
    from consumers.release.query.writing import Format


@click.command()
@click.argument("sql", required=False)
@click.option("--template", "name", metavar="NAME", help="A standard query instead of SQL; --list has them.")
@click.option(
    "--set",
    "given",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter of the template; may be said more than once.",
)
@click.option(
    "--list", "listed", is_flag=True, help="Print the standard queries with their parameters, and ask nothing."
)
@click.option("--show", "shown", is_flag=True, help="Print the SQL, and ask nothing.")
@click.option(
    "--format", "form", type=click.Choice(["table", "csv", "parquet"]), default="table", show_default=True,
    help="csv and parquet are written as they come; parquet keeps every type.",
)  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path), help="File, for csv and parquet; stdout if not given.")
@options_of(QuerySettings, "settings")
@json_option
def query(
    sql: str | None,
    name: str | None,
    given: tuple[str, ...],
    listed: bool,
    shown: bool,
    form: Format,
    output: Path | None,
    settings: QuerySettings,
    as_json: bool,
) -> None:
    """SQL or a standard query to Qserv, over its MySQL protocol or its HTTP frontend.

    SQL is the query itself, or - to read it from stdin.
    """
    if listed:
        _list(as_json)
        return
    if (sql is None) == (name is None):
        raise click.UsageError("give SQL or --template NAME; --list shows the templates")
    if given and name is None:
        raise click.UsageError("--set goes with --template")
    if output is not None and (form == "table" or as_json):
        raise click.UsageError("--output goes with --format csv or parquet")
    from consumers.release.query.writing import give

    if shown:
        click.echo(_text(sql, name, given, settings, functions=not settings.qserv_sql_plain))
        return
    with _ending_well(), _frontend(settings) as frontend:
        text = _text(sql, name, given, settings, functions=frontend.functions)
        with frontend.stream(text) as reader:
            give(reader, form, output, as_json)


def _text(
    sql: str | None, name: str | None, given: tuple[str, ...], settings: QuerySettings, *, functions: bool
) -> str:
    if name is None:
        return sys.stdin.read() if sql == "-" else str(sql)
    from consumers.release.description.felis_file import read
    from consumers.release.query.templates import template

    wanted = template(name)
    values: dict[str, str] = {}
    for key, value in map(_parameter, given):
        if key in values:
            raise click.UsageError(f"--set {key} is said twice")
        values[key] = value
    return wanted.sql(read(Path(settings.need("release_description"))), values, functions=functions)


def _parameter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--set {text}: write it as KEY=VALUE")
    return key.strip(), value


def _list(as_json: bool) -> None:
    from consumers.release.query.templates import TEMPLATES

    rows = [
        {
            "template": template.name,
            "parameter": each.name,
            "is": str(each.kind),
            "default": " or ".join(word or "empty" for word in each.default) if each.default else None,
            "unit": each.unit or None,
            "what": each.description,
        }
        for template in TEMPLATES.values()
        for each in template.parameters
    ]
    if not as_json:
        for template in TEMPLATES.values():
            click.echo(f"{template.name}: {template.description}")
    show(rows, columns=("template", "parameter", "is", "default", "unit", "what"), as_json=as_json)


@contextmanager
def _frontend(settings: QuerySettings) -> Iterator[Frontend]:
    from consumers.release.query.session import open_frontend

    with _progress() as told:
        frontend = open_frontend(settings.need("qserv_sql"), plain=settings.qserv_sql_plain, on_status=told)
        try:
            yield frontend
        finally:
            frontend.close()


@contextmanager
def _progress() -> Iterator[Callable[[Status], None] | None]:
    """A bar of the chunks that are through, on a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("chunks", total=None)
        yield lambda status: bar.update(task, completed=status.done, total=status.chunks or None)


@contextmanager
def _ending_well() -> Iterator[None]:
    """SIGTERM ends the query as SIGINT does, so that the service keeps nothing of it."""

    def interrupted(number: int, frame: FrameType | None) -> Any:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
