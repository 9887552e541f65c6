"""Options that verbs share: every setting as a flag, handed over as one typed object.

Settings are imported where a verb has some: pydantic takes a tenth of a second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from stream.config import SettingDoc
    from stream.layers import Layered

F = TypeVar("F", bound=Callable[..., Any])

ID = click.IntRange(-(1 << 63), (1 << 63) - 1)
"""An id or a visit, as the tables can hold it."""
NIGHT = click.IntRange(1_01_01, 9999_12_31)
"""A night, YYYYMMDD; `stream.tables.nights.day_of` says whether there is such a day."""


def shared_options(function: F) -> F:
    """Give a verb the flags that all verbs share, and hand it ``settings``, a :class:`~stream.config.Settings`.

    The flags for Kafka's security work on every verb and are described in the reference of settings, not in each
    ``--help``.
    """
    from stream.config import Settings

    return _options(Settings, "settings", lambda doc: doc.name.startswith("kafka_"), config=True)(function)


def ingest_options(function: F) -> F:
    """Give a verb the daemon's flags, and hand it ``ingest``, an :class:`~stream.config.IngestSettings`.

    Goes below :func:`shared_options`, whose ``--config`` it reads too.
    """
    from stream.config import IngestSettings

    return _options(IngestSettings, "ingest", lambda doc: False)(function)


def options_of(of: type[Layered], handed: str) -> Callable[[F], F]:
    """Give a verb the flags of settings `of` that are not the stream's, and ``--config``; handed over as `handed`."""
    return _options(of, handed, lambda doc: False, config=True)


def json_option(function: F) -> F:
    """Give a verb ``--json``, handed over as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(function)


def survey_file_option(function: F) -> F:
    """Give a verb ``--survey-file``, which may be said more than once, handed over as ``more``."""
    text = "A survey file that ingest used, beside those shipped and --survey; may be said more than once."
    return click.option("--survey-file", "more", type=click.Path(path_type=Path), multiple=True, help=text)(function)


def _options(
    of: type[Layered], handed: str, hidden: Callable[[SettingDoc], bool], *, config: bool = False
) -> Callable[[F], F]:
    from stream.config import describe_settings

    docs = [doc for doc in describe_settings(of) if doc.name != "config" or config]

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def verb(*args: Any, **kwargs: Any) -> Any:
            flags = {doc.name: _given(doc, kwargs.pop(_parameter(doc))) for doc in docs}
            kwargs[handed] = of.load(flags, config=_config())
            return function(*args, **kwargs)

        for doc in reversed(docs):
            verb = _option(of, doc, hidden(doc))(verb)
        return verb  # type: ignore[return-value]

    return decorate


def _parameter(doc: SettingDoc) -> str:
    return f"setting_{doc.name}"


def _config() -> Path | None:
    """The ``--config`` of this call, which stands among the shared flags."""
    ctx = click.get_current_context(silent=True)
    named = ctx.params.get("setting_config") if ctx else None
    return Path(named) if named else None


def _option(of: type[Layered], doc: SettingDoc, hidden: bool) -> Callable[[Any], Any]:
    text = f"{doc.doc}  [{doc.env}{'; default ' + doc.default if doc.default else ''}]"
    field = of.model_fields[doc.name]
    if field.annotation is bool:
        return click.option(f"{doc.flag}/--no-{doc.flag[2:]}", _parameter(doc), default=None, help=text, hidden=hidden)
    return click.option(
        doc.flag,
        _parameter(doc),
        type=str,
        multiple=doc.name == "topic",
        metavar=_metavar(doc, str(field.annotation)),
        help=text,
        hidden=hidden,
    )


def _metavar(doc: SettingDoc, annotation: str) -> str:
    if doc.secret or "Path" in annotation:
        return "FILE"
    if doc.name in ("level1", "alertdb", "schemas"):
        return "URL"
    if doc.name.endswith("_bytes"):
        return "BYTES"
    return "NUMBER" if "int" in annotation or "float" in annotation else "TEXT"


def _given(doc: SettingDoc, value: Any) -> Any:
    if not doc.secret or value is None:
        return (",".join(value) or None) if isinstance(value, tuple) else value
    from stream.layers import read_secret

    return read_secret(Path(value), doc.flag)
