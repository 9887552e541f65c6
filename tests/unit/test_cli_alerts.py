"""What the reading verbs take: times, positions, one question at a time; and images told by their bytes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from stream.cli.alerts import alerts
from stream.cli.group import run
from stream.cli.moments import mjd_tai
from stream.errors import Wrong
from stream.level1.images import images

NOW = 1_769_904_000.0
"""2026-02-01T00:00:00 UTC, MJD 61072 UTC."""
TAI = 37 / 86400


@pytest.mark.parametrize(
    "text, expected",
    [
        ("61000.25", 61000.25),
        ("61000", 61000.0),
        ("2026-02-01", 61072 + TAI),
        ("2026-02-01T06:00", 61072.25 + TAI),
        ("2026-02-01T06:00:00Z", 61072.25 + TAI),
        ("2026-02-01T06:00:00+06:00", 61072 + TAI),
        ("2h", 61072 - 2 / 24 + TAI),
        ("30m", 61072 - 30 / 1440 + TAI),
        ("1.5d", 61070.5 + TAI),
        ("45 s", 61072 - 45 / 86400 + TAI),
    ],
)
def test_a_moment_is_an_mjd_a_date_or_an_age(text: str, expected: float) -> None:
    assert mjd_tai(text, NOW) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("text", ["yesterday", "", "2h3m", "-5", "61000.1.2", "2026-13-01"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(Wrong, match="is not a time"):
        mjd_tai(text, NOW)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "give one of"),
        (["--object", "1", "--visit", "2"], "give one of"),
        (["--object", "1", "--detector", "2"], "--detector goes with --visit"),
        (["--visit", "1", "--until", "2h"], "--until with --since"),
        (["--cone", "1,2"], "is not RA,DEC,R in degrees"),
        (["--cone", "1,2,x"], "is not RA,DEC,R in degrees"),
        (["--object", "1", "--limit", "0"], "--limit"),
        (["--object", "1", "--output", "rows"], "--output goes with --format csv or parquet"),
        (["--object", "1", "--output", "rows", "--json"], "--output goes with --format csv or parquet"),
        (["--object", "1", "--json", "--format", "csv"], "--json or --format csv, not both"),
        (["--object", "1", "--json", "--format", "parquet", "--output", "rows"], "--json or --format parquet"),
    ],
)
def test_a_question_that_is_none_is_wrong_use(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["alerts", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_is_missing_is_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKYBURST_LEVEL1", "SKYBURST_SURVEY", "SKYBURST_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    assert run(["alerts", "--object", "1"]) == 2
    assert "SKYBURST_SURVEY" in capsys.readouterr().err
    assert run(["alert", "1"]) == 2
    assert "SKYBURST_LEVEL1" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["alerts", "--object", "1"], ["level1", "migrate"], ["status"]])
def test_a_database_that_is_not_there_is_unreachable(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*verb, "--survey", "a", "--level1", "mysql://u:geheim@127.0.0.1:1/db"]
    assert run(arguments) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "geheim" not in err


def test_help_of_alerts_names_every_question() -> None:
    output = CliRunner().invoke(alerts, ["--help"]).output
    assert all(flag in output for flag in ("--object", "--visit", "--cone", "--since", "--until", "--limit"))


def test_images_are_told_by_their_bytes_wherever_they_stand() -> None:
    fits, packed = b"SIMPLE  =                    T", b"\x1f\x8b\x08\x00"
    record = {"a": fits, "b": {"deep/er": packed, "n": None}, "c": [b"no image", fits], "d": "SIMPLE  =", "e": 7}
    assert images(record) == {"a.fits": fits, "b.deep_er.fits.gz": packed, "c.1.fits": fits}
