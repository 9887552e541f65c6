"""`skyburst demo` as whoever calls it sees it: what it says is so, and it ends with 0 only where all holds."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from doubles.demo import ALERTS, Demo

from stream.cli.demo.children import Children
from stream.cli.demo.packets import packets
from stream.cli.demo.run import Came, Places
from stream.cli.demo.summary import Summary
from stream.errors import Fatal

COMMAND = (sys.executable, "-P", "-m", "stream.cli")


def call(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SKYBURST_")}
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=bare | environment, capture_output=True, text=True)


def test_a_demo_without_real_packets_holds_and_says_that_they_are_made(demo: Demo) -> None:
    told = demo.told
    assert told["holds"] and told["verify"]["holds"] and told["wrong"] == []
    assert told["packets"] == {"real": [], "made": ALERTS + 4, "twice": 4, "damaged": 1}
    assert told["counts"] == {"new": ALERTS + 4, "repeated": 4, "conflict": 0, "quarantined": 1}
    assert 0 < told["latency_s"]["p50"] <= told["latency_s"]["p98"] <= told["latency_s"]["max"] < 60


def test_its_files_are_where_it_says_and_have_what_it_counted(demo: Demo) -> None:
    folder, told = demo.folder, demo.told
    assert told["files"]["folder"] == str(folder)
    with closing(sqlite3.connect(folder / "level1.db")) as database:
        rows = database.execute("SELECT diaSourceId FROM level1").fetchall()
    assert len(set(rows)) == ALERTS + 4 and (told["alert"]["diaSourceId"],) in rows
    files = [path for path in (folder / "alertdb").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == told["bytes"]["alertdb"] < told["bytes"]["in"]
    assert {path.suffix for path in files} == {".avro", ".parquet"}, "every segment is sealed"
    kept = 0
    for path in (path for path in files if path.suffix == ".avro"):
        with path.open("rb") as file:
            kept += sum(1 for _ in fastavro.reader(file))
    assert kept == ALERTS + 4 + 4 + 1


def test_the_commands_that_it_names_work_afterwards(demo: Demo) -> None:
    folder, told = demo.folder, demo.told
    config = ("--config", folder / "skyburst.toml")
    source = told["alert"]["diaSourceId"]
    alert = call("alert", source, *config, cwd=folder)
    assert alert.returncode == 0 and json.loads(alert.stdout)["diaSourceId"] == source
    rows = call("alerts", "--visit", told["alert"]["visit"], "--json", *config, cwd=folder)
    assert source in {row["diaSourceId"] for row in json.loads(rows.stdout)}
    assert call("verify", "--offline", *config, cwd=folder).returncode == 0


@pytest.mark.parametrize("form", ["csv", "parquet", "wire", "avro"])
def test_bytes_that_stdout_has_no_room_for_are_told_in_a_line(demo: Demo, form: str) -> None:
    found = demo.told["alert"]
    asked = ["alert", found["diaSourceId"]] if form in ("wire", "avro") else ["alerts", "--visit", found["visit"]]
    command = map(str, [*COMMAND, *asked, "--format", form, "--config", demo.folder / "skyburst.toml"])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(list(command), cwd=demo.beside, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("skyburst: stdout cannot be written: No space left on device")


def test_a_folder_that_has_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    done = call("demo", "--at", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "is not empty; give a new folder with --at" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_part_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    config = tmp_path / "skyburst.toml"
    config.write_text('level1 = "nonsense"\n')
    with pytest.raises(Fatal, match=r"skyburst level1 ended with 2: skyburst: .*level1\.log") as failed:
        Children(tmp_path, config, "127.0.0.1:1").must("level1", "migrate")
    assert failed.value.code == "demo_failed"
    with (
        pytest.raises(Fatal, match="skyburst ingest ended with"),
        Children(tmp_path, config, "127.0.0.1:1").daemon(),
    ):
        pytest.fail("the daemon cannot have become ready")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": {"new": 63, "repeated": 4, "conflict": 0, "quarantined": 1}}, "63 packets are new, not 64"),
        ({"counts": {"new": 64, "repeated": 4, "conflict": 1, "quarantined": 1}}, "1 packets are conflict, not 0"),
        ({"lacking": 2}, "2 of the real packets did not come back byte for byte"),
        ({"verify_code": 1}, "verify found something"),
        ({"replay": {"acknowledged": 68, "bytes": 1}}, "68 messages were acknowledged, not 69"),
        ({"latency": [0.1] * 68}, "not every message was seen committed"),
    ],
)
def test_whatever_is_not_as_it_should_be_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    sound: dict[str, Any] = {
        "replay": {"acknowledged": 69, "bytes": 1},
        "counts": {"new": 64, "repeated": 4, "conflict": 0, "quarantined": 1},
        "latency": [0.1] * 69,
        "disk": 1,
        "level1": 1,
        "lacking": 0,
        "alert": {},
        "alert_bytes": 1,
        "verify": {},
        "verify_code": 0,
    }
    monkeypatch.setenv("SKYBURST_TEST_DATA", str(tmp_path))
    sent = packets(ALERTS, tmp_path)

    def judged(came: dict[str, Any]) -> list[str]:
        came = came | {"latency": np.array(came["latency"])}
        return list(Summary(Places(tmp_path), sent, Came(**came), 1.0).wrong())

    assert judged(sound) == []
    (found,) = judged(sound | change)
    assert said in found
