"""The verbs that load, publish, verify and take away: what they print, how they end, and what they leave alone."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from doubles import release_world

from consumers.release.command import release
from consumers.release.double import QservDouble
from stream.cli.exits import exit_code, leaf, line
from stream.local import LocalMariadb


@pytest.fixture
def served(tmp_path: Path, mariadb: LocalMariadb) -> Iterator[QservDouble]:
    with QservDouble.in_thread(tmp_path / "double", mariadb=mariadb) as double:
        yield double


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SKYBURST_")]:
        monkeypatch.delenv(name)


def run(*argv: str, env: Mapping[str, str] | None = None) -> Result:
    return CliRunner().invoke(release, list(argv), env=env)


def ended(result: Result) -> tuple[int, str]:
    """The code and the line with which the command would end."""
    if result.exception is None or isinstance(result.exception, SystemExit):
        return result.exit_code, ""
    error = leaf(result.exception)
    return exit_code(error), line(error)


def environment(double: QservDouble) -> dict[str, str]:
    return {
        "SKYBURST_QSERV": double.url,
        "SKYBURST_QSERV_AUTH_KEY": double.auth_key,
        "SKYBURST_RELEASE_LEAST_TRANSACTION_BYTES": "5000",
    }


def test_a_dry_run_prints_the_plan_and_touches_nothing(release_folder: Path) -> None:
    def files() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in release_folder.rglob("*")}

    before = files()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        env = {"SKYBURST_QSERV": f"http://127.0.0.1:{server.getsockname()[1]}", "SKYBURST_QSERV_AUTH_KEY": "key"}
        told = run("load", str(release_folder), "--dry-run", "--json", env=env)
        shown = run("load", str(release_folder), "--dry-run")
        with pytest.raises(BlockingIOError):
            server.accept()
    assert files() == before
    assert (told.exit_code, shown.exit_code) == (0, 0), told.output
    plan = json.loads(told.stdout)
    assert plan["layout"] == {"stripes": 85, "sub_stripes": 12, "overlap": 0.01667}
    rows = {row["table"]: row for row in plan["tables"]}
    assert list(rows) == ["Object", "Source", "Filter", "all"]
    chunks = len(release_world.CHUNKS)
    assert (rows["Object"]["rows"], rows["Object"]["chunks"], rows["Object"]["files"]) == (
        50 * chunks,
        chunks,
        2 * chunks,
    )
    assert rows["Source"]["role"] == "child of Object"
    assert rows["all"]["rows"] == sum(each["rows"] for each in plan["transactions"])
    assert rows["all"]["seconds"] > 0
    assert "child of Object" in shown.stdout


def test_a_release_is_loaded_published_and_verified_by_its_verbs(
    served: QservDouble, release_folder: Path, tmp_path: Path
) -> None:
    folder, env = str(release_folder), environment(served)
    before = run("status", folder, env=env)
    assert before.exit_code == 0 and "not known" in before.stdout
    assert ended(run("verify", folder, env=env))[0] == 1
    code, text = ended(run("publish", folder, env=env))
    assert code == 1 and "run release load" in text
    metrics = tmp_path / "release.prom"
    loaded = run("load", folder, "--json", "--metrics", str(metrics), env=env)
    assert loaded.exit_code == 0, loaded.output
    assert json.loads(loaded.stdout)["complete"]
    rows = sum(each["rows"] for each in json.loads(loaded.stdout)["tables"])
    assert f"skyburst_release_rows_total {float(rows)}" in metrics.read_text()
    assert "skyburst_release_left_bytes 0.0" in metrics.read_text()
    assert run("publish", folder, "--index", "Source.flux", env=env).exit_code == 0
    verified = run("verify", folder, "--files", "--index", "Source.flux", "--json", env=env)
    assert verified.exit_code == 0 and json.loads(verified.stdout)["good"]
    assert ended(run("verify", folder, "--index", "Source.objectId+flux", env=env))[0] == 1
    told = json.loads(run("status", folder, "--json", env=env).stdout)
    assert told["published"] is True and told["open_transactions"] == []
    away = run("status", folder)
    assert away.exit_code == 0 and "not known" in away.stdout
    assert release_world.counted(served) == release_world.wanted(release_folder)


def test_taking_away_wants_to_be_said_twice_and_the_administrators_key(
    served: QservDouble, release_folder: Path
) -> None:
    folder, env = str(release_folder), environment(served)
    for verb in ("load", "publish"):
        assert run(verb, folder, env=env).exit_code == 0
    for argv in (["delete", folder], ["unpublish", folder], ["replace", folder, "Source"]):
        code, text = ended(run(*argv, env=env))
        assert code == 2 and "--yes" in text
        code, text = ended(run(*argv, "--yes", env=env))
        assert code == 2 and "administrator's key" in text
    admin = env | {"SKYBURST_QSERV_ADMIN_KEY": served.admin_auth_key}
    assert run("replace", folder, "Source", "--yes", env=admin).exit_code == 0
    assert run("load", folder, env=env).exit_code == 0
    assert run("publish", folder, env=env).exit_code == 0
    assert run("unpublish", folder, "--yes", env=admin).exit_code == 0
    assert run("delete", folder, "--yes", env=env).exit_code == 0
    assert served.memory.databases == {}
    assert run("rebuild", folder, env=env).exit_code == 0
    assert run("verify", folder, env=env).exit_code == 0


def test_what_is_wrong_is_said_in_one_line_with_a_code_to_stand_on(
    served: QservDouble, release_folder: Path, tmp_path: Path
) -> None:
    folder, env = str(release_folder), environment(served)
    assert ended(run("load", folder))[0] == 2
    assert ended(run("load", str(tmp_path), env=env))[0] == 2
    code, text = ended(run("load", folder, env=env | {"SKYBURST_QSERV_AUTH_KEY": "wrong-key"}))
    assert code == 2 and "SKYBURST_QSERV_AUTH_KEY" in text and "wrong-key" not in text
    gone = env | {"SKYBURST_QSERV": "http://127.0.0.1:1", "SKYBURST_RELEASE_UNREACHABLE_S": "0.1"}
    code, text = ended(run("load", folder, env=gone))
    assert code == 3 and "http://127.0.0.1:1" in text
    path = release_folder / "Source/chunk_7310.txt"
    path.write_bytes(path.read_bytes()[:-20])
    code, text = ended(run("load", folder, env=env))
    assert code == 1 and "Source/chunk_7310.txt" in text and "chunk 7310" in text
    status = run("status", folder, env=env)
    assert "Source/chunk_7310.txt" in status.stdout and "failed:" in status.stdout
    for wrong in (["--index", "Source"], ["--scan-rating", "Source=9"], ["--index", "Source.nothing"]):
        assert ended(run("publish", folder, *wrong, env=env))[0] == 2
