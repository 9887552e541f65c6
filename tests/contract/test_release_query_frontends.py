"""What holds for both of Qserv's protocols: types, NULLs, batches, refusals, and that nothing is left behind."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import trustme
from query_frontends import PROTOCOLS, Place, place

from consumers.release.query import Qserv, to_astropy, to_pandas
from stream.errors import Fatal, SkyburstError, Transient, Wrong
from stream.local import LocalMariadb
from stream.local.process import wait_until

TYPES = {
    "a_tiny": ("TINYINT", pa.int8()),
    "a_flag": ("BOOLEAN", pa.int8()),
    "a_small": ("SMALLINT", pa.int16()),
    "an_int": ("INT", pa.int32()),
    "a_big": ("BIGINT", pa.int64()),
    "a_bigger": ("BIGINT UNSIGNED", pa.uint64()),
    "a_float": ("FLOAT", pa.float32()),
    "a_double": ("DOUBLE", pa.float64()),
    "a_decimal": ("DECIMAL(10,3)", pa.decimal128(10, 3)),
    "a_text": ("VARCHAR(20) CHARACTER SET utf8mb4", pa.string()),
    "a_word": ("CHAR(4)", pa.string()),
    "a_long_text": ("LONGTEXT CHARACTER SET utf8mb4", pa.string()),
    "a_blob": ("VARBINARY(8)", pa.binary()),
    "some_bits": ("BIT(9)", pa.uint64()),
    "a_time": ("DATETIME(6)", pa.timestamp("us")),
    "a_day": ("DATE", pa.date32()),
    "a_span": ("TIME", pa.string()),
}
VALUES = {
    "a_tiny": ("-128", -128),
    "a_flag": ("TRUE", 1),
    "a_small": ("-32768", -32768),
    "an_int": ("2147483647", 2147483647),
    "a_big": ("-9223372036854775807", -9223372036854775807),
    "a_bigger": ("18446744073709551615", 18446744073709551615),
    "a_float": ("1.5e-30", float(np.float32(1.5e-30))),
    "a_double": ("1.2345678901234567e-10", 1.2345678901234567e-10),
    "a_decimal": ("-1234567.125", decimal.Decimal("-1234567.125")),
    "a_text": ("'Ωμέγα \\\\N %s'", "Ωμέγα \\N %s"),
    "a_word": ("''", ""),
    "a_long_text": ("'z'", "z"),
    "a_blob": ("x'00FF27'", b"\x00\xff'"),
    "some_bits": ("b'100000001'", 257),
    "a_time": ("'2026-11-25 01:02:03.000004'", datetime.datetime(2026, 11, 25, 1, 2, 3, 4)),
    "a_day": ("'2026-11-25'", datetime.date(2026, 11, 25)),
    "a_span": ("'-100:00:01'", "-100:00:01"),
}


@pytest.fixture(scope="module")
def database(mariadb: LocalMariadb) -> Iterator[str]:
    name = "release_query_contract"
    mariadb.create_database(name)
    columns = ", ".join(f"{column} {kind} NULL" for column, (kind, _) in TYPES.items())
    mariadb.execute(f"CREATE TABLE types (number INT NOT NULL, {columns}) ENGINE=MyISAM", database=name)
    values = ", ".join(VALUES[column][0] for column in TYPES)
    mariadb.execute(f"INSERT INTO types VALUES (1, {values}), (2{', NULL' * len(TYPES)})", database=name)
    yield name
    mariadb.drop_database(name)


@pytest.fixture(params=PROTOCOLS)
def at(request: pytest.FixtureRequest, mariadb: LocalMariadb, database: str) -> Iterator[Place]:
    with place(request.param, mariadb, database) as made:
        yield made


@pytest.fixture
def qserv(at: Place) -> Iterator[Qserv]:
    with at.asked() as made:
        yield made


def test_every_type_comes_as_its_own_and_null_stays_missing(qserv: Qserv) -> None:
    rows = qserv.query("SELECT * FROM types ORDER BY number")
    assert {field.name: field.type for field in rows.schema} == {"number": pa.int32()} | {
        name: kind for name, (_, kind) in TYPES.items()
    }
    assert rows.slice(0, 1).to_pylist() == [{"number": 1} | {name: value for name, (_, value) in VALUES.items()}]
    assert rows.slice(1, 1).to_pylist() == [{"number": 2} | dict.fromkeys(TYPES)]


def test_astropy_masks_what_is_null_and_keeps_every_digit(qserv: Qserv) -> None:
    table = to_astropy(qserv.query("SELECT * FROM types ORDER BY number"))
    assert {name for name in table.colnames if table[name].mask.tolist() == [False, True]} == set(TYPES)
    assert table["a_big"][0] == -9223372036854775807 and table["a_big"].dtype == np.int64
    assert table["a_float"].dtype == np.float32 and table["a_double"][0] == 1.2345678901234567e-10
    assert table["a_time"][0] == np.datetime64("2026-11-25T01:02:03.000004")
    assert table["a_blob"][0] == b"\x00\xff'" and table["a_text"][0] == "Ωμέγα \\N %s"


def test_pandas_misses_what_is_null_and_keeps_every_digit(qserv: Qserv) -> None:
    frame = to_pandas(qserv.query("SELECT * FROM types ORDER BY number"))
    assert set(frame.columns[frame.isna().iloc[1]]) == set(TYPES) and not frame.isna().iloc[0].any()
    assert frame["a_big"].dtype.name == "Int64" and frame["a_big"][0] == -9223372036854775807
    assert frame["a_bigger"][0] == 18446744073709551615


def test_a_float_has_six_digits_and_all_of_them_where_it_is_asked_for_as_a_double(qserv: Qserv) -> None:
    rows = qserv.query("SELECT CAST(0.123456789 AS FLOAT) AS f, CAST(CAST(0.123456789 AS FLOAT) AS DOUBLE) AS d")
    assert rows["f"][0].as_py() == float(np.float32(0.123457))
    assert rows["d"][0].as_py() == float(np.float32(0.123456789))


def test_a_zero_date_is_missing(qserv: Qserv) -> None:
    rows = qserv.query("SELECT CAST('0000-00-00 00:00:00' AS DATETIME) AS t, CAST('0000-00-00' AS DATE) AS d")
    assert rows.to_pylist() == [{"t": None, "d": None}]


def test_no_rows_have_columns_all_the_same(qserv: Qserv) -> None:
    rows = qserv.query("SELECT number, a_double FROM types WHERE number = 3")
    assert rows.num_rows == 0 and rows.schema.types == [pa.int32(), pa.float64()]
    assert len(to_astropy(rows)) == 0 and len(to_pandas(rows)) == 0


def test_an_answer_comes_in_batches_of_the_rows_asked_for(qserv: Qserv) -> None:
    with qserv.stream("SELECT seq FROM seq_1_to_2500", rows=1000) as reader:
        batches = list(reader)
    assert [batch.num_rows for batch in batches] == [1000, 1000, 500]
    assert pa.Table.from_batches(batches)["seq"].to_pylist() == list(range(1, 2501))


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1 FROM", "syntax"),
        ("SELECT nothing FROM types", "nothing"),
        ("SELECT 1 FROM absent", "absent"),
        ("SELECT (SELECT number FROM types)", "more than 1 row"),
    ],
)
def test_a_query_that_cannot_be_answered_is_refused_in_the_services_words(qserv: Qserv, sql: str, said: str) -> None:
    with pytest.raises(SkyburstError, match=said) as caught:
        qserv.query(sql)
    assert caught.value.code == "query_failed"
    assert qserv.query("SELECT 1 AS one")["one"].to_pylist() == [1]


def test_a_wrong_password_is_refused_and_never_shown(at: Place) -> None:
    with Qserv(at.url(password="geheim")) as wrong, pytest.raises(Fatal) as caught:
        wrong.query("SELECT 1")
    assert caught.value.code == "query_rights" and "geheim" not in str(caught.value)


def test_a_frontend_that_is_not_there_is_away(at: Place) -> None:
    with Qserv(at.url(port=1)) as nobody, pytest.raises(Transient) as caught:
        nobody.query("SELECT 1")
    assert caught.value.code == "query_away" and "127.0.0.1:1" in str(caught.value)


def test_an_answer_left_early_leaves_nothing_behind(at: Place, qserv: Qserv) -> None:
    count = "50000000" if at.protocol == "mysql" else "5000"
    with pytest.raises(KeyboardInterrupt), qserv.stream(f"SELECT seq FROM seq_1_to_{count}", rows=10) as reader:
        assert reader.read_next_batch().num_rows == 10
        raise KeyboardInterrupt
    assert at.http.kept == [] and at.http.running == []
    running = f"SELECT 1 FROM information_schema.processlist WHERE info = 'SELECT seq FROM seq_1_to_{count}'"
    assert wait_until(lambda: at.mariadb.execute(running) == (), 10)


def test_an_answer_that_was_left_cannot_be_read_on_as_if_it_had_ended(at: Place, qserv: Qserv) -> None:
    with qserv.stream("SELECT seq FROM seq_1_to_5000", rows=10) as reader:
        reader.read_next_batch()
    if at.protocol == "mysql":
        with pytest.raises(Wrong, match="left before its end"):
            reader.read_all()
    else:
        assert reader.read_all().num_rows == 4990


def test_a_large_answer_over_mysql_is_never_in_memory_whole(mariadb: LocalMariadb) -> None:
    mariadb.create_database("release_query_large")
    sql = "SELECT seq, REPEAT('x', 2000) AS text FROM seq_1_to_120000"
    with Qserv(mariadb.url("release_query_large")) as qserv, qserv.stream(sql) as reader:
        sizes, rows = [], 0
        for batch in reader:
            rows += batch.num_rows
            sizes.append(resident())
    assert rows == 120_000 and len(sizes) > 10
    assert max(sizes[4:]) - max(sizes[:4]) < 40e6, "of 180 MB that came after the fourth batch"
    mariadb.drop_database("release_query_large")


def test_wide_rows_come_few_at_a_time(mariadb: LocalMariadb) -> None:
    mariadb.create_database("release_query_wide")
    sql = "SELECT seq, REPEAT('x', 4000000) AS text FROM seq_1_to_40"
    with Qserv(mariadb.url("release_query_wide")) as qserv, qserv.stream(sql) as reader:
        counts = [batch.num_rows for batch in reader]
    assert sum(counts) == 40 and max(counts) < 8, "a batch is about 16 MiB"
    mariadb.drop_database("release_query_wide")


def test_a_mysql_server_is_trusted_by_its_authority_and_by_nothing_else(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    options = {"ssl-cert": str(tmp_path / "cert.pem"), "ssl-key": str(tmp_path / "key.pem")}
    server = LocalMariadb(tmp_path / "server", options=options).start()
    try:
        with Qserv(f"{server.url('')}?ssl_ca={tmp_path / 'ca.pem'}") as qserv:
            assert qserv.query("SHOW STATUS LIKE 'Ssl_cipher'")["Value"][0].as_py()
        with Qserv(f"{server.url('')}?ssl_ca={tmp_path / 'other.pem'}") as qserv, pytest.raises(Fatal) as caught:
            qserv.query("SELECT 1")
        assert caught.value.code == "query_tls"
    finally:
        server.stop()


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
