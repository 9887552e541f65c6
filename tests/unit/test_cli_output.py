"""Options and output that verbs share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from stream.cli.options import ingest_options, json_option, shared_options
from stream.cli.output import plain, show, show_fields
from stream.config import IngestSettings, Settings
from stream.errors import Wrong

SEEN: list[object] = []


@click.command()
@shared_options
@ingest_options
@json_option
def verb(settings: Settings, ingest: IngestSettings, as_json: bool) -> None:
    SEEN[:] = [settings, ingest, as_json]


def called(*arguments: str, **environment: str) -> tuple[Settings, IngestSettings, bool]:
    CliRunner(env={"SKYBURST_CONFIG": None, **environment}).invoke(verb, arguments, catch_exceptions=False)
    settings, ingest, as_json = SEEN
    assert isinstance(settings, Settings) and isinstance(ingest, IngestSettings) and isinstance(as_json, bool)
    return settings, ingest, as_json


def test_flags_reach_both_kinds_of_settings() -> None:
    settings, ingest, as_json = called(
        "--bootstrap", "k:9092", "--topic", "a", "--topic", "b", "--batch-bytes", "32MiB", "--start", "5", "--json"
    )
    assert (settings.bootstrap, settings.topic, ingest.batch_bytes, ingest.start) == ("k:9092", ("a", "b"), 32 << 20, 5)
    assert as_json


def test_one_config_flag_serves_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('survey = "file"\nkafka_encrypted = true\n[ingest]\ngroup = "night"\n')
    settings, ingest, _ = called("--config", str(path), "--no-kafka-encrypted", SKYBURST_INGEST_GROUP="weaker")
    assert (settings.survey, settings.kafka_encrypted, ingest.group) == ("file", False, "weaker")


def test_a_secret_is_given_by_the_file_that_has_it(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("geheim\n")
    path.chmod(0o600)
    settings, _, _ = called("--kafka-password-file", str(path))
    assert settings.value("kafka_password") == "geheim" and "geheim" not in repr(settings)
    path.chmod(0o644)
    with pytest.raises(Wrong, match="chmod"):
        called("--kafka-password-file", str(path))


def test_help_shows_flag_variable_and_default() -> None:
    text = " ".join(CliRunner().invoke(verb, ["--help"]).output.split())
    assert "--level1 URL" in text and "SKYBURST_LEVEL1" in text and "SKYBURST_INGEST_BATCH_AGE_S; default 0.1" in text


ROWS = [
    {"id": 1, "flux": 2.5, "name": "a\tb\nc", "seen": True, "extra": np.float32(0.5)},
    {"id": np.int64(2), "flux": float("nan"), "name": None, "seen": False},
]


def test_elsewhere_than_on_a_terminal_a_table_is_tab_separated(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, columns=("id", "flux", "name", "seen"), as_json=False, title="never seen")
    assert capsys.readouterr().out == "id\tflux\tname\tseen\n1\t2.5\ta b c\tyes\n2\t\t\tno\n"


def test_json_has_every_key_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, columns=("id",), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found[0]["extra"] == 0.5 and found[1]["flux"] is None and found[0]["name"] == "a\tb\nc"


def test_an_empty_table_has_its_header_and_empty_json(capsys: pytest.CaptureFixture[str]) -> None:
    show([], columns=("id",), as_json=False)
    show([], columns=("id",), as_json=True)
    assert capsys.readouterr().out == "id\n[]\n"


def test_a_terminal_gets_a_table_and_no_markup_is_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show([{"id": 1, "name": "[red]x[/red]"}], columns=("id", "name"), as_json=False, title="things")
    out = capsys.readouterr().out
    assert "things" in out and "[red]x[/red]" in out and "─" in out


def test_fields_print_one_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_fields({"night": 20260101, "lag": None}, as_json=False)
    show_fields({"night": 20260101}, as_json=True)
    assert capsys.readouterr().out == 'night\t20260101\nlag\t\n{\n  "night": 20260101\n}\n'


@pytest.mark.parametrize(
    "value, expected",
    [
        (b"\x00\xff", "AP8="),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00Z"),
        (np.array([1.0, np.inf]), [1.0, None]),
        ({1: {2}}, {"1": [2]}),
        (Path("/a"), "/a"),
    ],
)
def test_what_json_has_for_other_values(value: object, expected: object) -> None:
    assert plain(value) == expected
