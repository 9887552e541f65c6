"""Log lines: one JSON object each, stable codes, repeats held back, no secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import numpy as np
import pytest

from stream.clock import ManualClock
from stream.errors import Transient
from stream.log import Log, configure, kafka_logger


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_event_code_and_fields() -> None:
    out = io.StringIO()
    configure(out=out)
    Log("commit").info("commit", code="done", records=np.int64(7), topic="a\nb", lag=None, span=(1, 2))
    (line,) = lines(out)
    ts = str(line.pop("ts"))
    assert ts.endswith("Z") and "T" in ts
    assert line == {
        "level": "info", "event": "commit", "code": "done", "logger": "commit",
        "records": 7, "topic": "a\nb", "lag": None, "span": [1, 2],
    }  # fmt: skip


def test_an_error_of_ours_lends_its_code_and_advice_without_a_traceback() -> None:
    out = io.StringIO()
    configure(out=out)
    Log("x").warning("waiting", error=Transient("database_away", "no answer from db", "start it"), tries=2)
    (line,) = lines(out)
    assert (line["code"], line["message"], line["tries"]) == ("database_away", "no answer from db; start it", 2)
    assert "traceback" not in line


def test_any_other_error_brings_its_traceback_on_the_same_line() -> None:
    out = io.StringIO()
    configure(out=out)
    try:
        raise KeyError("lost")
    except KeyError as error:
        Log("x").error("crashed", error=error)
    (line,) = lines(out)
    assert line["exception"] == "KeyError" and "lost" in str(line["traceback"])


@pytest.mark.parametrize("form", ["json", "plain"])
def test_a_password_in_a_url_never_reaches_the_log(form: str) -> None:
    out = io.StringIO()
    configure(out=out, form=form)  # type: ignore[arg-type]
    Log("x").info("open", url="mysql://u:geheim@h/db", more={"deep": ["amqp://u:geheim@h"]})
    try:
        raise OSError("mysql://u:geheim@h/db")
    except OSError as error:
        Log("x").error("crashed", error=error)
    logging.getLogger("other").warning("kafka://u:geheim@h and sasl.password=geheim")
    assert "geheim" not in out.getvalue() and "***" in out.getvalue()


def test_repeats_are_held_back_and_counted() -> None:
    out, clock = io.StringIO(), ManualClock()
    configure(out=out, clock=clock)
    log = Log("x")
    for _ in range(100):
        log.warning("away", code="registry_away")
    log.warning("away", code="database_away")
    clock.advance(10.0)
    log.warning("away", code="registry_away")
    found = lines(out)
    assert [line["code"] for line in found] == ["registry_away"] * 5 + ["database_away", "registry_away"]
    assert [line.get("suppressed") for line in found] == [None] * 6 + [95]


def test_librdkafka_speaks_through_the_same_lines() -> None:
    out = io.StringIO()
    configure(out=out)
    kafka_logger().warning("FAIL [%s]: %s", "thrd:main", "connection refused")
    (line,) = lines(out)
    assert (line["event"], line["message"]) == ("librdkafka", "FAIL [thrd:main]: connection refused")


def test_a_field_cannot_take_the_place_of_the_time() -> None:
    out = io.StringIO()
    configure(out=out)
    Log("x").info("a", ts=4, level="high")
    (line,) = lines(out)
    assert line["level"] == "info" and line["ts_"] == 4 and line["level_"] == "high"


def test_a_level_below_the_chosen_one_says_nothing() -> None:
    out = io.StringIO()
    configure("warning", out=out)
    Log("x").info("quiet")
    assert out.getvalue() == ""


def test_configured_twice_a_line_comes_once() -> None:
    out = io.StringIO()
    configure(out=out)
    configure(out=out)
    Log("x").info("once")
    assert len(lines(out)) == 1


def test_a_terminal_gets_plain_lines() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    configure(out=out)
    Log("x").info("commit", records=3, code="done")
    assert out.getvalue().rstrip().endswith("info    commit [done] records=3")
