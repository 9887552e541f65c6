"""What a verb prints: a table for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from stream.errors import Wrong

Row = Mapping[str, object]


def show(rows: Iterable[Row], *, columns: Sequence[str], as_json: bool, title: str | None = None) -> None:
    """Print `rows` on stdout.

    Parameters
    ----------
    columns
        The columns in their order; JSON has every key that a row has.
    as_json
        One JSON array of objects, NaN and infinities as null.
    title
        Above the table on a terminal; nowhere else.
    """
    if as_json:
        show_json([dict(row) for row in rows])
        return
    with printing():
        if sys.stdout.isatty():
            _terminal(list(rows), columns, title)
            return
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(_cell(row.get(column)) for column in columns))


def show_fields(fields: Row, *, as_json: bool) -> None:
    """Print one thing, a name and its value a line."""
    if as_json:
        show_json(dict(fields))
        return
    width = max(map(len, fields), default=0) if sys.stdout.isatty() else 0
    with printing():
        for name, value in fields.items():
            click.echo(f"{name:<{width}}{'  ' if width else chr(9)}{_cell(value)}")


def show_json(value: object) -> None:
    """Print one JSON document. JSON has escapes of its own for the letters that stdout's encoding may lack."""
    utf_8 = str(sys.stdout.encoding).lower().replace("_", "-") == "utf-8"
    with printing():
        click.echo(json.dumps(plain(value), ensure_ascii=not utf_8, allow_nan=False, indent=2))


@contextmanager
def printing() -> Iterator[None]:
    """Print on stdout; a reader that is gone is told apart elsewhere.

    Raises
    ------
    Wrong
        ``output``: stdout is on a full disk.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        text = f"stdout cannot be written: {error.strerror or error}"
        raise Wrong("output", text, "what this verb was to do is done") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write a file that the caller named.

    Raises
    ------
    Wrong
        ``output``: it cannot be.
    """
    try:
        yield
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror or error}"
        raise Wrong("output", text, "name another place with --output") from error


def plain(value: Any) -> Any:
    """`value` as JSON has it: NaN as null, times as ISO 8601 UTC, bytes as base64, NumPy scalars as numbers."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def _cell(value: object) -> str:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    return " ".join(str(value).split()) if not isinstance(value, float) else repr(value)


def _terminal(rows: Sequence[Row], columns: Sequence[str], title: str | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = bool(rows) and all(isinstance(plain(row.get(column)), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        # Text, so that square brackets of a value are not taken for markup.
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console().print(table)
