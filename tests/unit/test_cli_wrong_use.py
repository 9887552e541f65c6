"""What cannot be is wrong use: one line, exit code 2, and nothing unexpected."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa

from consumers.ingest import command as ingest
from stream.cli import alert, alerts
from stream.cli.check import _run
from stream.cli.checks import _alertdb, _topic
from stream.cli.finding import Finding
from stream.cli.group import run
from stream.config import IngestSettings, Settings
from stream.errors import SkyburstError, Transient, Wrong
from stream.tables.engine import open_engine
from stream.tables.migrate import migrate
from stream.tables.model import table

HUGE = str(1 << 63)


@pytest.fixture(scope="module")
def level1(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('level1')}/level1.sqlite"
    asyncio.run(_made(url))
    return url


async def _made(url: str) -> None:
    engine = open_engine(url)
    await migrate(engine, 20260101, 20260201)
    async with engine.begin() as connection:
        await connection.execute(sa.insert(table("surveys")).values(survey=1, name="lsst", digest="ab"))
    await engine.dispose()


@pytest.fixture(autouse=True)
def stores(level1: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alertdb").mkdir()
    monkeypatch.delenv("SKYBURST_CONFIG", raising=False)
    monkeypatch.delenv("SKYBURST_BOOTSTRAP", raising=False)
    monkeypatch.setenv("SKYBURST_LEVEL1", level1)
    monkeypatch.setenv("SKYBURST_ALERTDB", str(tmp_path / "alertdb"))
    monkeypatch.setenv("SKYBURST_SURVEY", "lsst")


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(arguments)
    err = capsys.readouterr().err
    assert "unexpected" not in err
    return code, err


@pytest.mark.parametrize(
    "arguments",
    [
        ["alert", HUGE],
        ["alert", "--", "-" + HUGE + "0"],
        ["alert", "1", "--night", "99999999"],
        ["alert", "1", "--night", HUGE],
        ["alerts", "--object", HUGE],
        ["alerts", "--visit", HUGE],
        ["alerts", "--visit", "1", "--detector", HUGE],
        ["alerts", "--object", "1", "--limit", HUGE],
        ["alerts", "--since", "99999999999d"],
        ["alerts", "--since", "9" * 400],
        ["alerts", "--since", "9" * 400 + "d"],
        ["alerts", "--since", "9999999"],
        ["verify", "--offline", "--alertdb", "s3x://foo"],
        ["verify", "--offline", "--alertdb", "http://[foo"],
        ["verify", "--offline", "--survey-file", "/nowhere.toml"],
        ["verify", HUGE],
        ["verify", "20261399"],
        ["quarantine", "list", "--night", "20261399"],
        ["level1", "migrate", "--from-night", "20261399"],
        ["level1", "migrate", "--upto-night", "20261399"],
        ["level1", "migrate", "--from-night", "20260301", "--upto-night", "20260201"],
        ["level1", "retire", "--before", HUGE],
        ["level1", "retire", "--before", "00010101"],
        ["ledger", "accept-gap", HUGE, "0", "5", "8", "--reason", "a test"],
        ["ledger", "accept-gap", "1", HUGE, "5", "8", "--reason", "a test"],
        ["ledger", "accept-gap", "1", "0", "5", HUGE, "--reason", "a test"],
        ["ledger", "adopt", "1", "--at", HUGE],
        ["ledger", "adopt", "1", "--ahead", HUGE],
        ["level1", "rebuild", "--survey-file", "/nowhere.toml"],
    ],
    ids=lambda arguments: " ".join(word[:20] for word in arguments),
)
def test_what_cannot_be_is_wrong_use_in_one_line(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, err = ended(capsys, *arguments)
    assert (code, err.count("\n")) == (2, 1), err


@pytest.mark.parametrize("url", ["ftp://x", "s3://", "http://[x", "az://container"])
def test_a_store_that_cannot_be_is_wrong_use_of_whatever_opens_it(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKYBURST_ALERTDB", url)
    for arguments in (
        ["alert", "1"],
        ["quarantine", "redrive", "--all"],
        ["ledger", "accept-gap", "1", "0", "0", "1", "--reason", "a test"],
        ["level1", "retire", "--before", "20260101"],
        ["level1", "rebuild", "--survey", "lsst"],
        ["verify", "--offline"],
    ):
        code, err = ended(capsys, *arguments)
        assert (code, err.count("\n")) == (2, 1), (arguments, err)
        assert "alertdb: " in err and "write a folder, or an object store's URL" in err, (arguments, err)


def test_an_alertdb_that_ends_with_its_process_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (["ingest"], ["verify", "--offline"], ["check"]):
        monkeypatch.setenv("SKYBURST_ALERTDB", "memory:///x")
        code, err = ended(capsys, *verb)
        assert (code, err.count("\n")) == (2, 1) and "SKYBURST_ALERTDB" in err and "goes with the process" in err


async def test_a_daemon_does_not_start_on_a_store_that_cannot_be(level1: str) -> None:
    settings = Settings(alertdb="ftp://x", level1=level1, survey="lsst", bootstrap="127.0.0.1:1", topic=("alerts",))
    with pytest.raises(Wrong, match="alertdb: ftp://x") as raised:
        await ingest._run(settings, IngestSettings(visits_topic=""))
    assert raised.value.code == "setting"


@pytest.mark.parametrize("verb", [["ingest", "--survey", "nowhere.toml"], ["ledger", "adopt", "told"]], ids=" ".join)
def test_a_topic_with_announcements_is_none_with_alerts(
    verb: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKYBURST_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("SKYBURST_TOPIC", "alerts,told")
    (tmp_path / "skyburst.toml").write_text('[ingest]\nvisits_topic = "told"\n')
    code, err = ended(capsys, *verb, "--config", str(tmp_path / "skyburst.toml"))
    assert (code, err.count("\n")) == (2, 1), err
    assert "told is the topic with the announcements of visits" in err


@pytest.mark.parametrize("stream", [HUGE, "\N{SUPERSCRIPT TWO}"])
def test_a_stream_that_cannot_be_is_one_that_is_not_there(
    stream: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SKYBURST_BOOTSTRAP", "127.0.0.1:1")
    code, err = ended(capsys, "ledger", "adopt", stream)
    assert (code, err.count("\n")) == (1, 1), err
    assert f"there is no stream {stream}" in err or f"no alerts of a topic {stream}" in err


def test_a_check_says_so_of_a_topic_with_announcements() -> None:
    settings = Settings(bootstrap="127.0.0.1:1", topic=("told",))
    ours = IngestSettings(visits_topic="told")
    ((_, finding, code),) = _run(iter([("topic told", "", lambda: _topic(settings, ours, "told"))]))
    assert (finding.verdict, code) == ("fails", 2) and "topic_of_visits" in finding.text


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "synthetic:visits=1", "--to", "told", "--visits-topic", "told", "--survey", "lsst"],
        ["topics", "create", "--topic", "a,told", "--visits-topic", "told"],
        ["topics", "describe", "--topic", "told", "--visits-topic", "told"],
    ],
)
def test_no_verb_takes_one_topic_for_alerts_and_for_the_announcements(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = ended(capsys, *arguments, "--bootstrap", "127.0.0.1:1")
    assert (code, "told is the topic with the announcements of visits" in err) == (2, True)


def test_a_check_says_so_of_a_store_that_cannot_be(tmp_path: Path) -> None:
    settings = Settings(alertdb="ftp://x")
    ((_, finding, code),) = _run(iter([("alertdb", "", lambda: _alertdb(settings, IngestSettings()))]))
    assert (finding.verdict, code) == ("fails", 2) and "ftp" in finding.text


def test_ids_to_the_last_bit_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (str((1 << 63) - 1), "-" + HUGE):
        assert ended(capsys, "alert", "--", number)[0] == 1
        assert ended(capsys, "alerts", f"--object={number}")[0] == 0


def test_a_survey_that_was_never_ingested_is_a_no_of_both_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["alert", "1"], ["alerts", "--object", "1"]):
        code, err = ended(capsys, *arguments, "--survey", "ztf")
        assert (code, "ztf" in err) == (1, True)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_rows_that_cannot_be_written_where_they_are_wanted(form: alerts.Format, tmp_path: Path) -> None:
    rows = pa.table({"diaSourceId": [1]})
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", tmp_path / "alertdb"):
        with pytest.raises(Wrong, match="cannot be written") as raised:
            alerts._give(rows, form, place, as_json=False)
        assert raised.value.code == "output"
    alerts._give(rows, form, tmp_path / "new" / "rows", as_json=False)
    assert (tmp_path / "new" / "rows").stat().st_size > 0


def test_a_packet_that_cannot_be_written_where_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Wrong, match="cannot be written"):
        alert._write(b"packet", tmp_path / "file" / "below" / "packet.avro")
    alert._write(b"packet", tmp_path / "new" / "packet.avro")
    assert (tmp_path / "new" / "packet.avro").read_bytes() == b"packet"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Wrong("setting_missing", "it is not set"), 2),
        (Transient("away", "no answer"), 3),
        (SkyburstError("no", "no"), 1),
    ],
)
def test_a_check_that_fails_ends_as_its_error_does(error: SkyburstError, code: int) -> None:
    def fails() -> Finding:
        raise error

    ((name, finding, ended_with),) = _run(iter([("one", "", fails)]))
    assert (name, finding.verdict, ended_with) == ("one", "fails", code)


def test_a_check_shows_no_password(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SKYBURST_ALERTDB", "s3x://key:geheim@bucket/x")
    for form in ([], ["--json"]):
        assert run(["check", *form]) == 2
        shown = capsys.readouterr()
        assert "s3x://key:***@bucket" in shown.out and "geheim" not in shown.out + shown.err


@pytest.mark.parametrize("moment", ["9999d", "1900-01-01", "9999-12-31"])
def test_a_moment_far_away_is_said_without_a_warning(moment: str, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ended(capsys, "alerts", "--since", moment) == (0, "")
