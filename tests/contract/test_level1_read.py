"""What do we know here: known answers by id, object, visit, time and cone, on both databases."""
# ruff: noqa: F811 (fixtures are imported and then named as parameters)

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from level1_batches import batch, column, engine, put, url  # noqa: F401
from sqlalchemy.ext.asyncio import AsyncEngine

from stream.errors import SkyburstError, Wrong
from stream.level1 import Level1, query, to_astropy
from stream.level1.columns import schema
from stream.level1.read import fetch
from stream.sky import cone_ranges, distance, healpix29
from stream.tables.model import table

Ask = Callable[..., Any]


@pytest.fixture
async def known(engine: AsyncEngine, url: str, rng: np.random.Generator) -> AsyncIterator[Level1]:
    """Ten sources of survey `ours`, and the same ids in another survey."""
    names = np.array(["ZTF18abc", "ZTF18ABC", "ZTF18abc", None, None, None, None, None, None, None], object)
    ours = batch(
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], rng,
        diaObjectId=column([7, 7, 7, 8, 8, 9, 9, 9, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]),
        objectName=column(names, [name is None for name in names]),
        visit=column([100, 100, 100, 100, 200, 200, 200, 200, 300, 300]),
        detector=column([2, 1, 1, 3, 1, 1, 1, 1, 1, 1]),
        midpointMjdTai=column([61003.0, 61002.0, 61001.0, *np.arange(61004.0, 61011.0)]),
        psfFlux=column(np.arange(10.0), [0] * 9 + [1]),
    )  # fmt: skip
    theirs = batch([1, 2, 3], rng, survey=2, diaObjectId=column([7, 7, 7]), visit=column([100, 100, 100]))
    nightly = batch([1], rng, night=column([20261122]), midpointMjdTai=column([61002.5]), diaObjectId=column([99]))
    async with engine.begin() as conn:
        for number, name in ((1, "ours"), (2, "theirs")):
            await conn.execute(table("surveys").insert().values(survey=number, name=name, digest="0" * 64))
    for columns in (ours, theirs, nightly):
        await put(engine, columns)
    with Level1(url, "ours") as level1:
        yield level1


def ids(found: pa.Table) -> list[int]:
    made: list[int] = found["diaSourceId"].to_pylist()
    return made


async def ask(method: Ask, *args: Any, **options: Any) -> list[int]:
    return ids(await asyncio.to_thread(method, *args, **options))


async def test_an_id_is_found_on_all_its_nights_newest_first(known: Level1) -> None:
    found = known.by_id(1)
    assert found["night"].to_pylist() == [20261122, 20261121]
    assert set(found["survey"].to_pylist()) == {1}
    assert ids(known.by_id(5)) == [5]
    assert ids(known.by_id(-1)) == []


async def test_an_object_is_a_light_curve_in_order_of_time(known: Level1) -> None:
    assert await ask(known.by_object, 7) == [3, 2, 1]
    assert await ask(known.by_object, np.int64(8)) == [4, 5]
    assert await ask(known.by_object, 0) == []


async def test_a_named_object_is_told_from_one_that_differs_by_case_or_blanks(known: Level1) -> None:
    assert await ask(known.by_object, "ZTF18abc") == [3, 1]
    assert await ask(known.by_object, "ZTF18ABC") == [2]
    assert await ask(known.by_object, "ZTF18abc ") == []
    assert await ask(known.by_object, "' OR 1=1") == []


async def test_a_visit_and_a_detector_of_it(known: Level1) -> None:
    assert await ask(known.by_visit, 100) == [2, 3, 1, 4]
    assert await ask(known.by_visit, 100, detector=1) == [2, 3]
    assert await ask(known.by_visit, 100, detector=0) == []
    assert await ask(known.by_visit, np.int64(100), np.int16(1)) == [2, 3], "as a column of a table gives them"


async def test_floats_and_numbers_that_no_column_can_have_are_refused_alike_on_both_databases(known: Level1) -> None:
    beyond = 1 << 63
    asked: list[Callable[[], object]] = [
        lambda: known.by_id(beyond),
        lambda: known.by_object(-beyond - 1),
        lambda: known.by_visit(np.uint64(beyond)),  # type: ignore[arg-type]
        lambda: known.by_visit(100, beyond),
        lambda: known.since(61000.0, -1),
        lambda: known.between(61000.0, 61001.0, beyond),
        lambda: known.by_id(169298433191444493.0),  # type: ignore[arg-type]
        lambda: known.by_object(np.float64("nan")),  # type: ignore[arg-type]
    ]
    for ask_it in asked:
        with pytest.raises(Wrong) as raised:
            await asyncio.to_thread(ask_it)
        assert raised.value.code == "number"
    assert len(await asyncio.to_thread(known.by_id, -beyond)) == 0


async def test_between_takes_its_start_and_not_its_end(known: Level1) -> None:
    assert await ask(known.between, 61002.0, 61004.0) == [2, 1, 1]
    assert await ask(known.since, 61009.0) == [9, 10]
    assert await ask(known.since, 61005.5, limit=2) == [6, 7]
    assert await ask(known.since, 70000) == []
    assert await ask(known.between, -np.inf, np.inf) == await ask(known.since, np.float32(0))
    assert await ask(known.since, np.inf) == []
    with pytest.raises(Wrong, match="NaN"):
        known.between(61000, np.nan)


async def test_a_survey_sees_its_own_rows_only(known: Level1, url: str) -> None:
    with Level1(url, "theirs") as other:
        assert sorted(await ask(other.by_object, 7)) == [1, 2, 3]
    with Level1(url, "nobody") as nobody, pytest.raises(SkyburstError) as caught:
        nobody.by_id(1)
    assert caught.value.code == "unknown_survey"


async def test_columns_have_types_units_and_descriptions(known: Level1) -> None:
    found = known.by_visit(300)
    assert found.schema == schema()
    assert found.schema.field("ra").metadata[b"unit"] == b"deg"
    assert b"description" in found.schema.field("flags").metadata
    assert (found.schema.field("flags").type, found.schema.field("digest").type) == (pa.uint32(), pa.binary(16))
    assert found["psfFlux"].to_pylist() == [8.0, None]
    assert known.by_id(-1).schema == schema()


async def test_an_astropy_table_has_units_and_masks(known: Level1) -> None:
    import astropy.units as u

    found = to_astropy(known.by_visit(300))
    assert (found["psfFlux"].unit, found["midpointMjdTai"].unit, found["band"].unit) == (u.nJy, u.d, None)
    assert found["psfFlux"].mask.tolist() == [False, True]
    assert found["diaObjectId"].mask.tolist() == [True, True]
    assert found["diaSourceId"].tolist() == [9, 10]
    assert (found["diaSourceId"].dtype, found["flags"].dtype) == (np.int64, np.uint32)
    assert found["band"].tolist() == ["r", "r"]
    assert len(found["digest"][0]) == 16
    assert len(to_astropy(known.by_id(-1))) == 0


async def test_the_same_questions_are_answered_on_asyncio(known: Level1, engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        assert (await fetch(conn, query.by_object(1, 7))).equals(known.by_object(7))


@pytest.mark.parametrize(
    ("ra", "dec", "radius"),
    [
        (0.0, 0.0, 2.0),
        (359.999, 10.0, 1.0),
        (45.0, 89.9, 1.5),
        (10.0, -90.0, 3.0),
        (180.0, 30.0, 0.01),
        (7.0, 7.0, 120.0),
    ],
)
async def test_a_cone_has_exactly_what_lies_within_it_nearest_first(
    engine: AsyncEngine, url: str, rng: np.random.Generator, ra: float, dec: float, radius: float
) -> None:
    n = 1500
    near, turn = radius * 2 * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    ras, decs = around(ra, dec, np.minimum(near, 179.0), turn)
    columns = batch(np.arange(n), rng, ra=column(ras), dec=column(decs), healpix=healpix29(ras, decs))
    async with engine.begin() as conn:
        await conn.execute(table("surveys").insert().values(survey=1, name="ours", digest="0" * 64))
    await put(engine, columns)
    apart = distance(ra, dec, ras, decs)
    expected = [int(k) for k in np.argsort(apart, kind="stable") if apart[k] <= radius]
    with Level1(url, "ours") as level1:
        assert await ask(level1.cone, ra, dec, radius) == expected
    assert 0 < len(expected) <= n


async def test_an_answer_is_never_held_whole_as_python_objects(
    engine: AsyncEngine, url: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.level1.read.ROWS_A_PIECE", 100)
    async with engine.begin() as conn:
        await conn.execute(table("surveys").insert().values(survey=1, name="ours", digest="0" * 64))
    await put(engine, batch(np.arange(3000), rng))
    with Level1(url, "ours") as level1:
        level1.by_id(1)
        tracemalloc.start()
        found = level1.since(0.0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert found.num_rows == 3000
    assert peak < found.nbytes, "beside Arrow's own memory, which is not traced"


def around(ra: float, dec: float, apart: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions at these distances and position angles (radians) from a centre."""
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    made = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(turn * u.rad, apart * u.deg)
    return made.ra.deg % 360.0, made.dec.deg


def test_distance_is_astropys_from_a_thousandth_of_an_arcsecond_to_the_antipode(rng: np.random.Generator) -> None:
    from astropy import units as u
    from astropy.coordinates import SkyCoord

    ras, decs = rng.uniform(0, 360, 500), rng.uniform(-90, 90, 500)
    for ra, dec in ((12.0, 34.0), (0.0, -90.0), (float(ras[0]), float(decs[0]) + 3e-7)):
        theirs = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(ras * u.deg, decs * u.deg)).deg
        np.testing.assert_allclose(distance(ra, dec, ras, decs), theirs, rtol=1e-9, atol=1e-13)
    assert distance(10.0, 20.0, np.array([190.0]), np.array([-20.0])) == pytest.approx(180.0)


async def test_a_cone_off_the_sky_is_wrong_use(known: Level1) -> None:
    with pytest.raises(Wrong, match="cone"):
        known.cone(0.0, 91.0, 1.0)


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (query.by_id(1, 5), "PRIMARY"),
        (query.by_object(1, 5), "level1_object"),
        (query.by_object(1, "ZTF18abc"), "level1_objectName"),
        (query.by_visit(1, 2026112100123), "level1_visit"),
        (query.by_visit(1, 2026112100123, 5), "level1_visit"),
        (query.between(1, 61000.5, 61000.501), "level1_time"),
        (query.between(1, 61000.99, None, 10), "level1_time"),
        ("cone", "level1_healpix"),
    ],
    ids=["id", "object", "name", "visit", "detector", "between", "since", "cone"],
)
async def test_every_question_goes_by_its_index(
    engine: AsyncEngine, rng: np.random.Generator, question: Any, index: str
) -> None:
    visits = column(rng.integers(2026112100000, 2026112100200, 3000))
    names = column(np.array([f"ZTF18{k}" for k in range(3000)], object))
    await put(engine, batch(np.arange(3000), rng, visit=visits, objectName=names))
    sqlite = engine.dialect.name == "sqlite"
    if question == "cone":
        question = next(query.in_cells(1, cone_ranges(100.0, -20.0, 1.0), engine.dialect.name))
    text = str(question.compile(engine.sync_engine, compile_kwargs={"literal_binds": True})).replace("%", "%%")
    async with engine.connect() as conn:
        plan = (await conn.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if sqlite else ''}{text}")).all()
    if sqlite:
        expected = {"PRIMARY": "sqlite_autoindex_level1_1"}.get(index, index)
        assert f"USING INDEX {expected} (survey=? AND" in plan[0][3]
    else:
        assert plan[0].key == index
        assert plan[0].type in ("ref", "range")
