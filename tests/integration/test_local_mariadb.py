"""The private MariaDB: what was committed outlives SIGKILL, nothing listens beyond loopback, strangers stay out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pymysql
import pytest

from stream.errors import Fatal
from stream.local import LocalMariadb
from stream.local import mariadb as mariadb_module


@pytest.fixture(scope="module")
def folder(server_folder: Path) -> Path:
    return server_folder / "mariadb-of-its-own"


@pytest.fixture
def own(folder: Path) -> Iterator[LocalMariadb]:
    server = LocalMariadb(folder, options={"innodb-buffer-pool-size": "64M"}).start()
    yield server
    server.stop()


def test_committed_rows_are_there_after_kill_on_the_same_port(own: LocalMariadb) -> None:
    own.create_database("kept")
    own.execute("CREATE TABLE row (x INT)", database="kept")
    own.execute("INSERT INTO row VALUES (7)", database="kept")
    port = own.port
    own.kill()
    assert not own.running
    own.start()
    assert own.port == port
    assert own.execute("SELECT x FROM row", database="kept") == ((7,),)


def test_options_reach_the_server_and_every_commit_is_synced(own: LocalMariadb) -> None:
    assert own.execute("SELECT @@innodb_buffer_pool_size, @@innodb_flush_log_at_trx_commit") == ((64 * 2**20, 1),)


def test_temporary_files_are_in_a_folder_of_its_own(own: LocalMariadb) -> None:
    opened: list[Path] = []
    for link in Path(f"/proc/{own.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed between the two looks
            opened.append(link.readlink())
    assert {path.parent for path in opened if path.name.endswith(" (deleted)")} == {own.folder / "tmp"}


def test_an_installation_that_has_no_folder_for_temporary_files_fails(tmp_path: Path) -> None:
    (tmp_path / "tmp").symlink_to("nowhere")
    with pytest.raises(Fatal, match="tmp") as raised:
        LocalMariadb(tmp_path)._install()
    assert raised.value.code == "mariadb_failed"


def test_listens_on_loopback_only(own: LocalMariadb) -> None:
    listening = [c for c in psutil.Process(own.process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}


@pytest.mark.parametrize("user", ["root", "skyburst", ""])
def test_nobody_gets_in_without_the_password(own: LocalMariadb, user: str) -> None:
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host="127.0.0.1", port=own.port, user=user, password="")


def test_another_handle_on_the_folder_finds_and_stops_the_running_server(own: LocalMariadb) -> None:
    other = LocalMariadb(own.folder)
    assert other.running
    assert other.url("a") == own.url("a")
    other.stop()
    assert not own.running


def test_a_server_that_cannot_come_up_says_why(own: LocalMariadb) -> None:
    own.stop()
    broken = LocalMariadb(own.folder, options={"innodb-page-size": "nonsense"})
    with pytest.raises(Fatal, match="innodb-page-size") as raised:
        broken.start()
    assert raised.value.code == "mariadb_failed"


def test_a_server_whose_port_is_taken_names_it(mariadb: LocalMariadb, tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text(json.dumps({"port": mariadb.port, "password": "secret"}))
    with pytest.raises(Fatal, match=f"port {mariadb.port} of .* is taken"):
        LocalMariadb(tmp_path).start()


def test_a_missing_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mariadb_module.shutil, "which", lambda *_, **__: None)
    with pytest.raises(Fatal, match="apt-get install mariadb-server") as raised:
        LocalMariadb(tmp_path).start()
    assert raised.value.code == "mariadb_missing"


def test_each_test_has_an_empty_database(mariadb: LocalMariadb, level1_url: str) -> None:
    assert mariadb.execute("SHOW TABLES", database=level1_url.rpartition("/")[2]) == ()
