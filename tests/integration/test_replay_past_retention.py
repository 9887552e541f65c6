"""A night of long ago is not sent to a topic whose broker would delete it at once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from doubles.ingest_run import NIGHT, IngestRun, sent

from stream.cli.group import run as skyburst
from stream.local import LocalKafka
from stream.transport.admin import Topics

LONG_AGO_MS = 1_600_000_000_000


def test_a_night_beyond_a_topics_retention_is_sent_only_when_told_so(
    kafka: LocalKafka,
    topic: str,
    level1_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    again = f"{topic}-again"
    kafka.create_topic(topic, 1, {"retention.ms": "-1"})
    kafka.create_topic(again, 1, {"retention.ms": "604800000"})
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    asyncio.run(run.migrate())
    run.send([sent(1), replace(sent(2), timestamp_ms=LONG_AGO_MS), sent(3)])
    assert asyncio.run(run.ingest()) == 0
    for name, value in run.environment({"XDG_STATE_HOME": str(tmp_path / "state")}).items():
        monkeypatch.setenv(name, value)

    def replayed(*flags: str) -> tuple[int, str, str]:
        code = skyburst(
            ["replay", f"alertdb:{NIGHT}", "--to", again, "--pace", "max", "--visits-topic", "", "--json", *flags]
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    code, out, err = replayed()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "as old as 2020-09-13T12:26:40" in err and again in err
    assert Topics(kafka.bootstrap).offsets(again, 1) == {0: (0, 0)}
    code, out, err = replayed("--past-retention")
    assert (code, json.loads(out)["acknowledged"]) == (0, 3), err
