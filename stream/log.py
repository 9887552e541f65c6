"""Logs: one JSON object a line on stderr, a plain line on a terminal; stable events and codes; repeats rate-limited."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from stream.clock import Clock, SystemClock
from stream.errors import SkyburstError
from stream.redact import redact

KAFKA_LOGGER = "librdkafka"
_RESERVED = frozenset({"ts", "level", "logger", "event", "code", "suppressed", "exception", "traceback"})


class Log:
    """Says what happened as an event with fields.

    Parameters
    ----------
    name
        The room that speaks, e.g. ``consumers.ingest``.

    Notes
    -----
    An event is a stable slug (``commit``, ``partition_held``), never a sentence with values in it: what varies is a
    field. An error given as ``error=`` lends its code and message. The line goes through the standard `logging`.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"skyburst.{name}")

    def debug(self, event: str, /, **fields: object) -> None:
        self._say(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._say(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._say(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._say(logging.ERROR, event, fields)

    def _say(self, level: int, event: str, fields: dict[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        error = fields.pop("error", None)
        code = fields.pop("code", None)
        if isinstance(error, SkyburstError):
            code = code or error.code
            fields.setdefault("message", str(error))
        known = isinstance(error, SkyburstError)
        trace = (type(error), error, error.__traceback__) if isinstance(error, BaseException) and not known else None
        self._logger.log(level, event, exc_info=trace, extra={"skyburst": (code, fields)})


def kafka_logger() -> logging.Logger:
    """The logger to hand to a confluent-kafka client, so that librdkafka's lines come out like all others."""
    return logging.getLogger(KAFKA_LOGGER)


class Repeats(logging.Filter):
    """Lets `burst` lines of one (logger, event, code) through in each `window_s` seconds and counts the rest.

    The next line that gets through says how many were kept back, as the field ``suppressed``.
    """

    def __init__(self, clock: Clock, *, burst: int = 5, window_s: float = 10.0) -> None:
        super().__init__()
        self._clock, self._burst, self._window = clock, burst, window_s
        self._seen: dict[tuple[str, str, str | None], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        code = _parts(record)[0]
        key = (record.name, str(record.msg)[:80], code)
        now = self._clock.monotonic()
        begun, count = self._seen.get(key, (now, 0))
        held_back = 0
        if now - begun >= self._window:
            held_back, begun, count = max(0, count - self._burst), now, 0
        if len(self._seen) > 1000:
            self._seen = {k: v for k, v in self._seen.items() if now - v[0] < self._window}
        self._seen[key] = (begun, count + 1)
        if held_back:
            record.suppressed = held_back
        return count < self._burst


def _parts(record: logging.LogRecord) -> tuple[str | None, Mapping[str, object]]:
    code, fields = getattr(record, "skyburst", (None, {}))
    return (None if code is None else str(code)), fields


def _stamp(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _plain(value.item())
    return str(value)


class JsonLines(logging.Formatter):
    """``{"ts", "level", "event", "code", …fields}``, UTC, nothing else on the line, URLs without their passwords."""

    def format(self, record: logging.LogRecord) -> str:
        code, fields = _parts(record)
        ours = hasattr(record, "skyburst")
        line: dict[str, Any] = {
            "ts": _stamp(record),
            "level": record.levelname.lower(),
            "event": record.msg if ours else record.name.replace(".", "_"),
            "code": code,
        }
        if not ours:
            line["message"] = record.getMessage()
        else:
            line["logger"] = record.name.removeprefix("skyburst.")
        for name, value in fields.items():
            line[f"{name}_" if name in _RESERVED else name] = _plain(value)
        if getattr(record, "suppressed", 0):
            line["suppressed"] = record.__dict__["suppressed"]
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(_redacted(line), ensure_ascii=False, allow_nan=True)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return value


class PlainLines(logging.Formatter):
    """For a person at a terminal: time, level, event, code, ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        code, fields = _parts(record)
        text = str(record.msg) if hasattr(record, "skyburst") else f"{record.name}: {record.getMessage()}"
        words = [_stamp(record)[11:23], f"{record.levelname.lower():<7}", text]
        if code and code != record.msg:
            words.append(f"[{code}]")
        words += [f"{name}={_plain(value)}" for name, value in fields.items()]
        if getattr(record, "suppressed", 0):
            words.append(f"(and {record.__dict__['suppressed']} more like it)")
        line = " ".join(words)
        if record.exc_info and record.exc_info[0] is not None:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return redact(line)


def configure(
    level: str = "info",
    *,
    form: Literal["auto", "json", "plain"] = "auto",
    out: TextIO | None = None,
    clock: Clock | None = None,
) -> logging.Handler:
    """Send all logs of this process to `out` (stderr) and return the handler.

    Parameters
    ----------
    level
        ``debug``, ``info``, ``warning`` or ``error`` for skyburst's own lines; others' begin at warning, librdkafka's
        at info.
    form
        ``auto``: plain on a terminal, JSON elsewhere.
    """
    target = out if out is not None else sys.stderr
    plain = form == "plain" or (form == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(PlainLines() if plain else JsonLines())
    handler.addFilter(Repeats(clock or SystemClock()))
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each.formatter, JsonLines | PlainLines)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("skyburst").setLevel(level.upper())
    kafka_logger().setLevel(logging.INFO)
    return handler
