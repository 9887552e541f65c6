"""What the check of limits passes, MariaDB takes as Qserv's workers make it, and one byte more neither of them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pymysql
import pytest

from consumers.release.description import given, limits
from consumers.release.description.describe import Wish, describe
from consumers.release.reading import open_catalogue
from consumers.release.table import Column, Role, Table
from stream.errors import Wrong
from stream.local import LocalMariadb

Taken = Callable[[Sequence[Column], Role], bool]


@pytest.fixture(scope="module")
def taken(mariadb: LocalMariadb) -> Iterator[Taken]:
    """Whether MariaDB makes the table, partitioned by transactions in MyISAM as the ingest service makes it."""
    database = f"test_{uuid.uuid4().hex[:16]}"
    mariadb.create_database(database)

    def make(columns: Sequence[Column], role: Role) -> bool:
        told = ", ".join(
            f"`{each.name}` {each.mysql} {'NULL' if each.nullable else 'NOT NULL'}"
            for each in [*limits.added(role), *columns]
        )
        try:
            mariadb.execute(
                f"CREATE OR REPLACE TABLE edge ({told}) ENGINE=MyISAM DEFAULT CHARACTER SET latin1"
                " PARTITION BY LIST (`qserv_trans_id`) (PARTITION `p1` VALUES IN (1))",
                database=database,
            )
        except pymysql.MySQLError as error:
            assert error.args[0] in (1117, 1118), error
            return False
        return True

    yield make
    mariadb.drop_database(database)


def column(name: str, mysql: str = "DOUBLE", *, nullable: bool = True) -> Column:
    return Column(name, name, "double", mysql, nullable=nullable)


def passes(columns: Sequence[Column], role: Role) -> bool:
    key, ra, dec = (each.name if role is Role.DIRECTOR else "" for each in columns[:3])
    try:
        limits.check(Table("edge", role, tuple(columns), key, ra, dec), "test")
    except Wrong as error:
        assert error.code == "table_too_large", error
        return False
    return True


def defined(total: int, role: Role) -> list[Column]:
    """Columns whose definition has exactly `total` bytes."""
    left = total - limits.size([], role).definition
    made: list[Column] = []
    while left > 2 * (limits.OF_COLUMN + 60):
        made.append(column(f"base_PsfFlux_{len(made):017d}"))
        left -= limits.OF_COLUMN + 30
    first = left // 2
    made += [column("x" * (first - limits.OF_COLUMN)), column("y" * (left - first - limits.OF_COLUMN))]
    assert limits.size(made, role).definition == total
    return made


@pytest.mark.parametrize("role", [Role.DIRECTOR, Role.REGULAR])
def test_a_definition_of_the_last_byte_is_taken_and_one_more_is_not(taken: Taken, role: Role) -> None:
    for total, fits in ((limits.DEFINITION, True), (limits.DEFINITION + 1, False)):
        columns = defined(total, role)
        assert (passes(columns, role), taken(columns, role)) == (fits, fits)


def test_as_many_short_names_as_a_definition_holds_are_taken(taken: Taken) -> None:
    digits = "abcdefghijklmnopqrstuvwxyz0123456789_$"
    names = [a + b for a in digits[:26] for b in digits] + [f"{a}{b}{c}" for a in "abc" for b in digits for c in digits]
    room = limits.DEFINITION - limits.size([], Role.DIRECTOR).definition
    spent = list(itertools.accumulate(limits.OF_COLUMN + len(name) for name in names))
    count = sum(each <= room for each in spent) + 1
    assert 3000 < count < limits.COLUMNS
    assert taken([column(name) for name in names[: count - 1]], Role.DIRECTOR)
    assert not taken([column(name) for name in names[:count]], Role.DIRECTOR)


TYPES = (
    "TINYINT", "SMALLINT", "MEDIUMINT", "INTEGER", "BIGINT UNSIGNED", "FLOAT", "DOUBLE", "BOOLEAN", "BIT(9)",
    "DECIMAL(20,3)", "DECIMAL(10)", "DECIMAL(65,30)", "DATE", "DATETIME", "DATETIME(3)", "DATETIME(6)", "TIMESTAMP(6)",
    "TIME", "CHAR(34)", "VARCHAR(255)", "VARCHAR(256)", "NVARCHAR(10)", "BINARY(7)", "VARBINARY(100)", "TINYBLOB",
    "TEXT", "MEDIUMTEXT", "LONGTEXT", "LONGBLOB",
)  # fmt: skip


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_a_row_of_the_last_byte_is_taken_and_one_more_is_not(taken: Taken, kind: str, nullable: bool) -> None:
    columns = [column(f"c{number}", "CHAR(255)", nullable=False) for number in range(253)]
    columns += [column(f"n{number}", "TINYINT") for number in range(8 * nullable)]
    columns.append(column("measured", kind, nullable=nullable))
    left = limits.ROW - limits.size([*columns, column("z", "CHAR(0)", nullable=False)], Role.DIRECTOR).row
    whole, rest = divmod(left, 255)
    fill = [column(f"f{number}", "CHAR(255)", nullable=False) for number in range(whole)]
    for more, fits in ((0, True), (1, False)):
        row = [*columns, *fill, column("z", f"CHAR({rest + more})", nullable=False)]
        if rest + more > 255:
            row[-1:] = [column("z", "CHAR(255)", nullable=False), column("y", "CHAR(1)", nullable=False)]
        assert limits.size(row, Role.DIRECTOR).row == limits.ROW + more
        assert bool(limits.size(row, Role.DIRECTOR).over) is not fits
        assert taken(row, Role.DIRECTOR) is fits


def test_what_is_too_large_is_taken_once_what_was_advised_is_dropped(taken: Taken) -> None:
    columns = [column(name) for name in ("id", "ra", "dec_")]
    columns += [column(f"ext_convolved_ConvolvedFlux_{number}_instFlux_apCorrErr") for number in range(400)]
    columns += [column(f"modelfit_DoubleShapeletPsfApprox_{number}_xx") for number in range(700)]
    table = Table("wide", Role.DIRECTOR, tuple(columns), "id", "ra", "dec_")
    with pytest.raises(Wrong) as refused:
        limits.check(table, "test")
    assert refused.value.code == "table_too_large" and not taken(columns, Role.DIRECTOR)
    assert "--drop 'modelfit_DoubleShapeletPsfApprox*'" in refused.value.advice
    left = [each for each in columns if not each.name.startswith("modelfit_DoubleShapeletPsfApprox")]
    assert f"leaves {len(left)}" in refused.value.advice
    limits.check(Table("wide", Role.DIRECTOR, tuple(left), "id", "ra", "dec_"), "test")
    assert taken(left, Role.DIRECTOR)


def test_the_tables_of_real_catalogues_are_taken(taken: Taken, shared_data: Path) -> None:
    made = []
    for path in sorted((shared_data / "qserv/afw_fits").iterdir()):
        if path.name not in ("legacyHeavyFootprint.fits", "CompoundFieldConversion.fits", "exposure_catalog_v1.fits"):
            made.append(describe([open_catalogue(path)], Wish("T", Role.DIRECTOR, database="test")).table)
    for path in sorted((shared_data / "qserv").glob("case0*/ingest/*[ter].json")):
        if "database" not in path.name:
            made += [given.take(table, None, None, "test").table for table in given.read(path).tables]
    assert len(made) > 10
    for table in made:
        assert taken(table.columns, table.role), table.name
