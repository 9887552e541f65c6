"""URLs, the one daemon of SQLite, and roles as text."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stream.errors import Fatal, SkyburstError, Wrong
from stream.tables.engine import level1_url, open_engine, open_reader, sqlite_file
from stream.tables.lock import only_daemon
from stream.tables.roles import Role, roles_sql

PROJECT = Path(__file__).parents[2]
PASSWORDS: dict[Role, str] = {
    "ingest": "INGEST_PASSWORD",
    "reader": "READER_PASSWORD",
    "migrate": "MIGRATE_PASSWORD",
}


@pytest.mark.parametrize(
    ("setting", "driver"),
    [
        ("mysql://u:p@h:1/db", "mysql+aiomysql"),
        ("mariadb://u:p@h/db", "mysql+aiomysql"),
        ("mysql+pymysql://u:p@h/db", "mysql+aiomysql"),
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("sqlite+aiosqlite:////tmp/a.db", "sqlite+aiosqlite"),
    ],
)
def test_any_driver_becomes_ours(setting: str, driver: str) -> None:
    assert level1_url(setting).drivername == driver


@pytest.mark.parametrize(
    "setting",
    ["", "level1.db", "postgresql://u:s3cret@h/db", "mysql://u:s3cret@h", "sqlite://", "mysql://u:s3cret@h:port/db"],
)
def test_what_is_no_level1_url_is_refused_without_its_password(setting: str) -> None:
    with pytest.raises(Wrong) as caught:
        level1_url(setting)
    assert caught.value.code == "level1_url"
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "mysql://u:s3cr@et@h/db",
        "mysql://u:x@s3/cr#et@h:1/db",
        "mysql://u:s3cr@e?t@h/db",
        "mysql://u:p@h/db?ssl_mode=REQUIRED",
        "mysql://u:p@h/db?connect_timeout=soon",
        "mysql://u:p@h/db?ssl_ca=/nowhere.pem",
        f"mysql://u:p@h/db?ssl_cert={__file__}",
        "sqlite:///a?b.db",
        "sqlite:///a.db?mode=ro",
    ],
)
def test_a_url_that_would_mean_something_else_is_refused_and_nothing_of_a_password_told(setting: str) -> None:
    with pytest.raises(Wrong) as caught:
        open_reader(setting)
    assert caught.value.code == "level1_url"
    assert not any(part in caught.value.message for part in ("s3", "cr", "et@"))


async def test_whoever_only_reads_makes_no_file_where_there_is_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/mis%3Ftyped.db"
    with pytest.raises(Fatal, match="there is no database"), open_reader(url).connect():
        pass
    with pytest.raises(Fatal, match="there is no database"):
        async with open_engine(url, readonly=True).connect():
            pass
    assert list(tmp_path.iterdir()) == []
    writer = open_engine(url)
    async with writer.connect():
        pass
    await writer.dispose()
    assert [path.name for path in tmp_path.glob("*.db")] == ["mis?typed.db"]


def test_sqlite_file_is_none_on_mariadb() -> None:
    assert sqlite_file("mysql://u@h/db") is None
    assert sqlite_file("sqlite:///x/a.db") == Path("x/a.db")


def test_a_second_daemon_on_sqlite_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    code = (
        f"from stream.tables.lock import only_daemon\nwith only_daemon({url!r}): print('has it', flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"has it\n"
        with pytest.raises(Fatal, match=f"process id {holder.pid}") as caught, only_daemon(url):
            pass
        assert caught.value.code == "level1_locked"
    finally:
        holder.kill()
        holder.communicate()
    with only_daemon(url), pytest.raises(Fatal), only_daemon(url):
        pass


def test_the_shipped_roles_are_those_that_the_code_makes() -> None:
    text = (PROJECT / "deploy/mariadb/roles.sql").read_text(encoding="utf-8")
    shipped = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
    assert shipped == ";\n".join(roles_sql("skyburst", PASSWORDS)) + ";"


@pytest.mark.parametrize("password", ["it's", "back\\slash", "two\nlines", ""])
def test_a_password_that_would_need_escaping_is_refused(password: str) -> None:
    with pytest.raises(Wrong):
        roles_sql("skyburst", PASSWORDS | {"reader": password})


@pytest.mark.parametrize("name", ["a`b", "a b", "", "x" * 65])
def test_a_database_name_is_letters_digits_and_underscores(name: str) -> None:
    with pytest.raises(Wrong):
        roles_sql(name, PASSWORDS)


async def test_nothing_is_written_into_an_sqlite_file_that_its_name_no_longer_leads_to(tmp_path: Path) -> None:
    file, aside = tmp_path / "l1.db", tmp_path / "aside.db"
    engine = open_engine(f"sqlite:///{file}")

    async def write(statement: str) -> str:
        try:
            async with engine.begin() as conn:
                await conn.exec_driver_sql(statement)
        except SkyburstError as error:
            return error.code
        return ""

    try:
        assert await write("CREATE TABLE a (b INT)") == ""
        file.rename(aside)
        assert await write("INSERT INTO a VALUES (1)") == "level1_away"
        aside.rename(file)
        assert await write("INSERT INTO a VALUES (2)") == ""
        file.rename(aside)
        shutil.copy(aside, file)
        assert await write("INSERT INTO a VALUES (3)") == "level1_instance"
    finally:
        await engine.dispose()
