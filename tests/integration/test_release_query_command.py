"""``skyburst release query`` as it is called: every form of an answer, and what each error ends with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from doubles import case02
from doubles.qserv_http import QservHttp, qserv_http
from pyarrow import csv, parquet

from consumers.release.description import felis_file
from stream.cli.group import run
from stream.local import LocalMariadb

PROJECT = Path(__file__).resolve().parents[2]
DATABASE = "release_query_command"
CONE = ["--template", "cone", "--set", "table=Object", "--set", "ra=1.3", "--set", "dec=3.25", "--set", "radius=0.01"]
VALUES = "SELECT 7 AS n, NULL AS x, CAST(0.1 AS FLOAT) AS f, TIMESTAMP'2026-11-25 01:02:03' AS t, x'00FF' AS b"


@pytest.fixture(scope="module")
def loaded(mariadb: LocalMariadb, shared_data: Path) -> Iterator[LocalMariadb]:
    case02.load(mariadb, shared_data / "qserv/case02_test101", DATABASE)
    yield mariadb
    mariadb.drop_database(DATABASE)


@pytest.fixture
def service(loaded: LocalMariadb) -> Iterator[QservHttp]:
    with qserv_http(loaded) as made:
        yield made


@pytest.fixture(autouse=True)
def settings(loaded: LocalMariadb, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "release.yaml"
    felis_file.write(case02.described(shared_data / "qserv/case02_test101", DATABASE), path)
    monkeypatch.setenv("SKYBURST_QSERV_SQL", loaded.url(DATABASE))
    monkeypatch.setenv("SKYBURST_QSERV_SQL_PLAIN", "true")
    monkeypatch.setenv("SKYBURST_RELEASE_DESCRIPTION", str(path))


def asked(*arguments: str) -> int:
    return run(["release", "query", *arguments])


def test_sql_is_answered_as_lines_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(VALUES) == 0
    assert capsys.readouterr().out == "n\tx\tf\tt\tb\n7\t\t0.1\t2026-11-25 01:02:03.000000\t00ff\n"
    assert asked(VALUES, "--json") == 0
    answer = {"n": 7, "x": None, "f": 0.1, "t": "2026-11-25 01:02:03.000000", "b": "00ff"}
    assert json.loads(capsys.readouterr().out) == [answer]


def test_two_columns_of_one_name_are_two(service: QservHttp, capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT 1 AS a, 2 AS a, 3 AS a_2"
    for more in ([], ["--qserv-sql", service.url(DATABASE), "--no-qserv-sql-plain"]):
        assert asked(sql, *more) == 0
        assert capsys.readouterr().out == "a\ta_3\ta_2\n1\t2\t3\n"
        assert asked(sql, "--json", *more) == 0
        assert json.loads(capsys.readouterr().out) == [{"a": 1, "a_3": 2, "a_2": 3}]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("sql", ["SELECT 1 AS n", "SELECT seq FROM seq_1_to_100000"])
def test_stdout_on_a_full_disk_is_said_in_one_line(form: str, sql: str) -> None:
    command = [sys.executable, "-m", "stream.cli", "release", "query", sql, "--format", form]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("skyburst: stdout cannot be written") and done.stderr.count("\n") == 1


def test_a_standard_query_is_the_same_by_both_protocols(service: QservHttp, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(*CONE, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert asked(*CONE, "--json", "--qserv-sql", service.url(DATABASE), "--no-qserv-sql-plain") == 0
    assert json.loads(capsys.readouterr().out) == plain and len(plain) > 3
    assert service.kept == []


def test_files_hold_the_answer_whole_and_parquet_keeps_its_types(tmp_path: Path) -> None:
    sql = "SELECT * FROM Source ORDER BY sourceId"
    assert asked(sql, "--format", "parquet", "-o", str(tmp_path / "deep/source.parquet")) == 0
    assert asked(sql, "--format", "csv", "-o", str(tmp_path / "source.csv")) == 0
    found = parquet.read_table(tmp_path / "deep/source.parquet")
    assert found.num_rows == 4583 and found.num_columns == 94
    assert found.schema.field("objectId").type == pa.int64() and found.schema.field("raErrForWcs").type == pa.float32()
    assert csv.read_csv(tmp_path / "source.csv")["sourceId"].equals(found["sourceId"])
    assert {path.name for path in tmp_path.rglob("*.new")} == set()


def test_a_file_of_an_answer_that_broke_off_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    breaks = "SELECT seq, IF(seq < 30000, 1, (SELECT 1 UNION SELECT 2)) AS n FROM seq_1_to_40000"
    assert asked(breaks, "--format", "csv", "-o", str(tmp_path / "some.csv")) == 1
    assert "more than 1 row" in capsys.readouterr().err
    assert not list(tmp_path.glob("some*"))


def test_what_a_template_would_ask_is_shown_and_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    nobody = ["--qserv-sql", "mysql://nobody@127.0.0.1:1/x", "--no-qserv-sql-plain"]
    assert asked(*CONE, "--show", *nobody) == 0
    assert capsys.readouterr().out == "SELECT * FROM `Object` WHERE qserv_areaspec_circle(1.3, 3.25, 0.01)\n"


def test_every_standard_query_is_listed_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("--list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["template"] for row in rows} == {"galaxies", "cone", "light-curve", "chunks"}
    assert {"template": "cone", "parameter": "radius", "is": "number", "default": None, "unit": "deg",
            "what": "Radius."} in rows  # fmt: skip


def test_settings_may_lie_in_a_config_file_that_nobody_else_reads(
    loaded: LocalMariadb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SKYBURST_QSERV_SQL")
    config = tmp_path / "skyburst.toml"
    config.write_text(f'[query]\nqserv_sql = "{loaded.url(DATABASE)}"\n')
    config.chmod(0o600)
    assert asked("SELECT 1 AS n", "--config", str(config)) == 0
    config.chmod(0o644)
    assert asked("SELECT 1 AS n", "--config", str(config)) == 2
    err = capsys.readouterr().err
    assert "chmod o-r" in err and loaded.password not in err
    assert asked("SELECT 1 AS n") == 2
    assert "SKYBURST_QSERV_SQL" in capsys.readouterr().err


def test_the_snippet_of_the_page_works_as_it_stands(tmp_path: Path) -> None:
    page = (PROJECT / "docs/release.md").read_text(encoding="utf-8").partition("\n## Query\n")[2]
    snippet = "\n".join(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert "light-curve" in snippet and "qserv.stream" in snippet
    command = [sys.executable, "-P", "-W", "error", "-c", snippet]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(map(int, done.stdout.split())) == 4583


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give SQL or --template"),
        (["SELECT 1", "--template", "cone"], 2, "give SQL or --template"),
        (["SELECT 1", "--set", "a=1"], 2, "--set goes with --template"),
        (["SELECT 1", "-o", "x"], 2, "--output goes with"),
        (["--template", "cone", "--set", "table"], 2, "KEY=VALUE"),
        ([*CONE, "--set", "radius=0.1"], 2, "--set radius is said twice"),
        (["--template", "stars"], 2, "there is no template stars"),
        ([*CONE, "--release-description", "absent.yaml"], 2, "absent.yaml"),
        (["SELECT 1", "--qserv-sql", "ftp://x"], 2, "no frontend of Qserv"),
        (["SET @a = 1"], 2, "gives no rows"),
        (["SELECT 1 FROM absent"], 1, "absent"),
        (["SELECT 1", "--qserv-sql", "mysql://u:geheim@127.0.0.1:1/db"], 3, "cannot be reached"),
        (["SELECT 1", "--format", "csv", "-o", "/proc/none/x.csv"], 2, "cannot be written"),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(*arguments) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and "geheim" not in err


def test_sigterm_ends_the_query_and_the_service_keeps_nothing(service: QservHttp) -> None:
    service.gate.clear()
    command = [sys.executable, "-m", "stream.cli", "release", "query", "SELECT 1 AS n"]
    environment = os.environ | {"SKYBURST_QSERV_SQL": service.url(DATABASE)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert service.looked.wait(30), "the query was not asked"
    assert len(service.running) == 1 and service.kept == service.running
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err.strip() == "skyburst: interrupted"
    assert service.running == [] and service.kept == []
