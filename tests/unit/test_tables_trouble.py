"""Database errors become errors whose class says what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pymysql
import pytest
from sqlalchemy.exc import OperationalError

from stream.errors import Fatal, Fenced, Held, Poison, SkyburstError, Transient
from stream.tables.trouble import translate, translated


def said_by_mariadb(number: int) -> OperationalError:
    return OperationalError("statement", {}, pymysql.err.OperationalError(number, "as the server says it"))


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (1205, Transient, "lock_wait"),
        (1213, Transient, "deadlock"),
        (1040, Transient, "level1_busy"),
        (2003, Transient, "level1_away"),
        (2006, Transient, "level1_away"),
        (2013, Transient, "level1_away"),
        (1021, Transient, "level1_full"),
        (3, Transient, "level1_full"),
        (1290, Transient, "level1_read_only"),
        (1526, Held, "level1_partition"),
        (1264, Poison, "level1_refused"),
        (1366, Poison, "level1_refused"),
        (1406, Poison, "level1_refused"),
        (1062, Fenced, "level1_duplicate"),
        (1045, Fatal, "level1_rights"),
        (1142, Fatal, "level1_rights"),
        (1146, Fatal, "level1_version"),
        (1064, Fatal, "level1_error"),
        (9999, Fatal, "level1_error"),
    ],
)
def test_mariadb_codes(number: int, kind: type[SkyburstError], code: str) -> None:
    for error in (said_by_mariadb(number), pymysql.err.OperationalError(number, "as the server says it")):
        found = translate(error)
        assert (type(found), found.code) == (kind, code)
        assert str(number) in found.message


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), EOFError(), TimeoutError()])
def test_a_broken_transport_is_transient(error: Exception) -> None:
    assert (type(translate(error)), translate(error).code) == (Transient, "level1_away")


def test_an_error_number_of_the_system_is_not_taken_for_one_of_the_server() -> None:
    assert translate(OSError(1045, "whatever")).code == "level1_away"


def test_who_is_not_let_in_is_not_told_that_a_role_is_wanting() -> None:
    """So MariaDB answers a wrong password, and whoever comes without TLS where it asks for that."""
    assert "TLS" in translate(said_by_mariadb(1045)).advice and "roles.sql" in translate(said_by_mariadb(1142)).advice
    assert "migrate" not in translate(said_by_mariadb(1049)).advice


def test_a_binary_log_of_statements_is_told_what_to_set() -> None:
    found = translate(said_by_mariadb(1665))
    assert (type(found), found.code) == (Fatal, "level1_error") and "MIXED" in found.advice


def test_ours_stay_as_they_are() -> None:
    ours = Held("schema_unknown", "wait")
    assert translate(ours) is ours


def test_sqlite_says_the_same_things(tmp_path: Path) -> None:
    def failing(statement: str) -> SkyburstError:
        with pytest.raises(sqlite3.Error) as caught:
            conn.execute(statement)
        return translate(caught.value)

    conn = sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0)
    conn.execute("CREATE TABLE t (a INTEGER NOT NULL, PRIMARY KEY (a)) WITHOUT ROWID")
    conn.execute("INSERT INTO t VALUES (1)")
    assert (type(e := failing("INSERT INTO t VALUES (1)")), e.code) == (Fenced, "level1_duplicate")
    assert (type(e := failing("INSERT INTO t VALUES (NULL)")), e.code) == (Poison, "level1_refused")
    assert (type(e := failing("SELECT * FROM missing")), e.code) == (Fatal, "level1_version")
    assert (type(e := failing("SELEKT")), e.code) == (Fatal, "level1_error")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert (type(e := failing("BEGIN IMMEDIATE")), e.code) == (Transient, "level1_busy")
    other.close()
    conn.execute("PRAGMA max_page_count = 2")
    assert (type(e := failing("CREATE TABLE u AS SELECT randomblob(100000)")), e.code) == (Transient, "level1_full")
    conn.close()


def test_translated_lets_other_errors_pass() -> None:
    with pytest.raises(KeyError), translated():
        raise KeyError("a bug")
    with pytest.raises(Transient) as caught, translated():
        raise said_by_mariadb(1205)
    assert isinstance(caught.value.__cause__, OperationalError)
