"""A description comes back from its felis file exactly, whatever its words and types are."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from consumers.release.description import felis_file
from consumers.release.description.types import SIZED, mysql_type
from consumers.release.table import Column, Database, Follows, Role, Table

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SOURCES = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=80)
UNITS = st.sampled_from(["", "deg", "rad", "pixel^2", "count*pixel^2", "nJy"])


@st.composite
def columns(draw: st.DrawFn, name: str, source: str) -> Column:
    datatype = draw(st.sampled_from(["boolean", "byte", "short", "int", "long", "float", "double", "text", *SIZED]))
    length = draw(st.integers(1, 300)) if datatype in SIZED else None
    mysql = draw(st.sampled_from([mysql_type(datatype, length), "BIGINT UNSIGNED", "DECIMAL(20,3)"]))
    return Column(name, source, datatype, mysql, length, draw(st.booleans()), draw(UNITS), draw(WORDS))


@st.composite
def tables(draw: st.DrawFn, name: str, role: Role, directors: list[str]) -> Table:
    names = draw(st.lists(NAMES, min_size=4, max_size=8, unique=True))
    sources = draw(st.lists(SOURCES, min_size=len(names), max_size=len(names), unique=True))
    whole = [draw(columns(own, draw(st.sampled_from([own, source])))) for own, source in zip(names, sources)]
    if len({each.source for each in whole}) < len(whole):
        whole = [draw(columns(own, own)) for own in names]
    follows = {Role.CHILD: 1, Role.MATCH: 2}.get(role, 0)
    placed = role is Role.DIRECTOR or (bool(follows) and draw(st.booleans()))
    return Table(
        name=name,
        role=role,
        columns=tuple(whole),
        key=names[0] if role is Role.DIRECTOR or draw(st.booleans()) else "",
        ra=names[1] if placed else "",
        dec=names[2] if placed else "",
        follows=tuple(Follows(draw(st.sampled_from(directors)), draw(st.sampled_from(names))) for _ in range(follows)),
        description=draw(WORDS),
    )


@st.composite
def databases(draw: st.DrawFn) -> Database:
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    roles = [Role.DIRECTOR, *(draw(st.sampled_from(Role)) for _ in names[1:])]
    directors = [name for name, role in zip(names, roles) if role is Role.DIRECTOR]
    made = tuple(draw(tables(f"T{number}_{name}", role, [f"T{names.index(each)}_{each}" for each in directors]))
                 for number, (name, role) in enumerate(zip(names, roles)))  # fmt: skip
    return Database(draw(NAMES), made, draw(WORDS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("felis")


@given(database=databases())
@settings(max_examples=60)
def test_a_database_comes_back_from_its_felis_file_exactly(database: Database, folder: Path) -> None:
    path = folder / "release.yaml"
    felis_file.write(database, path)
    assert felis_file.read(path) == database


@given(database=databases())
@settings(max_examples=20)
def test_felis_itself_reads_the_same_database_from_the_file(database: Database, folder: Path) -> None:
    path = folder / "release.yaml"
    felis_file.write(database, path)
    # Without its first line the file is as one of somebody else: felis reads it, and strips blanks around words.
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    assert [_bare(table) for table in felis_file.read(path).tables] == [_bare(table) for table in database.tables]


def _bare(table: Table) -> tuple[object, ...]:
    told = [(each.name, each.source, each.datatype, each.mysql, each.nullable, each.unit) for each in table.columns]
    return table.name, table.role, table.key, table.ra, table.dec, table.follows, told
