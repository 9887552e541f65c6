"""Directors, children, match tables and regular tables: every row goes where it should, or is rejected and counted."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from doubles.load_data import fields_of
from doubles.release_cases import a_job, column, cut_up, lines_of
from doubles.release_tables import FILTER, MATCH, OBJECT, REFERENCE, SOURCE, objects, sources, write

from consumers.release.description.arrow_types import LONGEST_VARCHAR
from consumers.release.manifest import Manifest, read
from consumers.release.partition import batches, source
from consumers.release.partition.cluster import Workers, open_workers
from consumers.release.partition.csv_dialect import CsvDialect
from consumers.release.table import Role, Table
from stream.errors import Fatal, Wrong
from stream.overlap import Overlap
from stream.sky import Layout

LAYOUT = Layout()
Row = Sequence[bytes | None]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with open_workers() as opened:
        yield opened


def lines(folder: Path, *, overlap: bool = False) -> list[tuple[int, Row]]:
    """The lines of main or overlap files, each with the chunk of its file."""
    return [
        (file.chunk, fields)
        for file in read(folder).files
        if file.overlap is overlap
        for fields in fields_of((folder / file.path).read_bytes(), ",")
    ]


def rejects(folder: Path) -> list[dict[str, str]]:
    with (folder / "rejects.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def number(field: bytes | None) -> int:
    assert field is not None
    return int(field)


def places(folder: Path) -> dict[int, tuple[int, int]]:
    """Chunk and sub-chunk of a director's rows by id."""
    return {number(fields[0]): (number(fields[-2]), number(fields[-1])) for _, fields in lines(folder)}


def test_a_director_of_parquet_has_each_row_once_and_its_overlap_where_qserv_puts_it(
    tmp_path: Path, workers: Workers, rng: np.random.Generator
) -> None:
    made = [objects(rng, 4000, first) for first in (0, 4000)]
    files = [write(table, tmp_path / f"{i}.parquet", 900) for i, table in enumerate(made)]
    manifest = cut_up(OBJECT, files, tmp_path, workers, layout=LAYOUT).manifest
    every = pa.concat_tables(made)
    ids, ra, dec = (every[name].to_numpy() for name in ("objectId", "ra", "dec"))
    chunk, sub_chunk = LAYOUT.locate(ra, dec)
    folder = tmp_path / "Object"
    assert places(folder) == dict(zip(ids.tolist(), zip(chunk.tolist(), sub_chunk.tolist())))
    near = Overlap(LAYOUT).find(ra, dec)
    found = Counter((number(row[0]), number(row[-2]), number(row[-1])) for _, row in lines(folder, overlap=True))
    assert found == Counter(zip(ids[near.row].tolist(), near.chunk.tolist(), near.sub_chunk.tolist()))
    assert all(chunk == number(row[-2]) for over in (False, True) for chunk, row in lines(folder, overlap=over))
    assert manifest.rows == 8000 == len(lines(folder)) and near.row.size > 100
    by_id = {number(row[0]): row for _, row in lines(folder)}
    for row in every.to_pylist():
        fields = by_id[row["objectId"]]
        assert fields[4] == (row["name"] and row["name"].encode())
        assert fields[3] is None if np.isnan(row["flux"]) else float(fields[3] or b"") == row["flux"]


def test_fits_is_cut_in_pieces_of_rows_and_gives_the_files_that_parquet_gives(
    tmp_path: Path, workers: Workers, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "PIECE_ROWS", 700)
    table = Table("Object", Role.DIRECTOR, OBJECT.columns[:4], "objectId", "ra", "dec")
    made = objects(rng, 2000).drop_columns("name").to_pydict()
    made["dec"][1500] = 91.0
    columns = {name: np.array(values) for name, values in made.items()}
    fits.BinTableHDU.from_columns(
        [fits.Column(name, "K" if name == "objectId" else "D", array=values) for name, values in columns.items()]
    ).writeto(tmp_path / "objects.fits")
    write(pa.table(columns), tmp_path / "objects.parquet")
    found = {}
    for form in ("fits", "parquet"):
        outcome = cut_up(table, [tmp_path / f"objects.{form}"], tmp_path / form, workers, layout=LAYOUT)
        assert outcome.cut == 3
        assert [each["row"] for each in rejects(tmp_path / form / "Object")] == ["1501"]
        found[form] = {file.path: (file.rows, file.sha256) for file in outcome.manifest.files}
    assert found["fits"] == found["parquet"] and len(found["fits"]) > 20


def test_rows_in_a_chunk_file_are_in_order_of_file_and_row(
    tmp_path: Path, workers: Workers, rng: np.random.Generator
) -> None:
    made = [objects(rng, 3000, first, width=0.3) for first in (0, 3000)]
    files = [write(table, tmp_path / f"{i}.parquet", 700) for i, table in enumerate(made)]
    manifest = cut_up(OBJECT, files, tmp_path, workers, layout=LAYOUT).manifest
    order = {each: i for i, each in enumerate(pa.concat_tables(made)["objectId"].to_pylist())}
    for file in manifest.files:
        rows = fields_of((tmp_path / "Object" / file.path).read_bytes(), ",")
        at = [order[number(row[0])] for row in rows]
        assert at == sorted(at)
        assert file.sources == tuple(str(each) for each in files)


BAD = {
    "position_missing": (None, 1.0),
    "position_nan": (float("nan"), 1.0),
    "position_infinite": (1.0, float("-inf")),
    "position_off_sky": (1.0, 90.000001),
}


def test_rows_without_a_position_are_rejected_with_reason_file_and_row_and_nothing_else_is(
    tmp_path: Path, workers: Workers, rng: np.random.Generator
) -> None:
    table = objects(rng, 500)
    ra, dec = table["ra"].to_pylist(), table["dec"].to_pylist()
    for at, pair in zip((3, 77, 300, 499), BAD.values()):
        ra[at], dec[at] = pair
    ra[10], ra[11] = ra[10] - 360.0, ra[11] + 720.0
    table = table.set_column(1, "ra", pa.array(ra)).set_column(2, "dec", pa.array(dec))
    good, bad = write(objects(rng, 100, 1000), tmp_path / "good.parquet"), write(table, tmp_path / "bad.parquet", 64)
    manifest = cut_up(OBJECT, [good, bad], tmp_path, workers, layout=LAYOUT).manifest
    assert manifest.rows == 600 and manifest.rejected == dict.fromkeys(sorted(BAD), 1)
    found = [(each["reason"], each["file"], int(each["row"])) for each in rejects(tmp_path / "Object")]
    assert found == [(reason, str(bad), at + 1) for reason, at in zip(BAD, (3, 77, 300, 499))]
    kept = {number(row[0]): row for _, row in lines(tmp_path / "Object")}
    assert len(kept) == 596
    assert kept[table["objectId"][10].as_py()][1] == repr(ra[10]).encode()
    reduced = LAYOUT.locate([(ra[10]) % 360.0], [dec[10]])[0]
    assert number(kept[table["objectId"][10].as_py()][-2]) == int(reduced[0])


def test_lines_of_csv_that_cannot_be_read_are_rejected_and_the_others_kept(tmp_path: Path, workers: Workers) -> None:
    text = (
        "1,10.5,0.5,1,a\n2,\\N,0.5,1,b\n3,abc,0.5,1,c\n4,10.5,0.5,1\n5,nan,0.5,1,e\n6,10.5,91,1,f\n"
        '7, 10.5,0.5,inf,"g,h"\n8,10.5,0.5,1,i,j\n9,+10.5,-inf,1,k\n10,370.5,5e-1,,\\N'
    )
    (tmp_path / "objects.csv").write_text(text)
    manifest = cut_up(OBJECT, [tmp_path / "objects.csv"], tmp_path, workers, layout=LAYOUT).manifest
    found = [(int(each["row"]), each["reason"]) for each in rejects(tmp_path / "Object")]
    assert found == [
        (2, "position_missing"), (3, "position_not_a_number"), (4, "fields"), (5, "position_nan"),
        (6, "position_off_sky"), (8, "fields"), (9, "position_infinite"),
    ]  # fmt: skip
    assert manifest.rows == 10 and sum(manifest.rejected.values()) == 7
    kept = {number(row[0]): row for _, row in lines(tmp_path / "Object")}
    assert kept[1][:5] == [b"1", b"10.5", b"0.5", b"1", b"a"]
    assert kept[7][:5] == [b"7", b" 10.5", b"0.5", None, b"g,h"]
    assert kept[10][:5] == [b"10", b"370.5", b"5e-1", None, None]
    assert kept[1][-2:] == kept[7][-2:] == kept[10][-2:]


def test_a_csv_file_with_a_header_is_read_by_its_names(tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "objects.csv").write_text('dec,"name",objectId,extra,flux,ra\n0.5,x,1,9,2.50,10.5\n')
    csv = CsvDialect(header=True)
    cut_up(OBJECT, [tmp_path / "objects.csv"], tmp_path, workers, layout=LAYOUT, csv=csv)
    ((_, row),) = lines(tmp_path / "Object")
    assert row[:5] == [b"1", b"10.5", b"0.5", b"2.50", b"x"]
    (tmp_path / "other.csv").write_text("dec,name\n")
    with pytest.raises(Wrong, match="has no column objectId, ra, flux") as refused:
        a_job(OBJECT, [tmp_path / "other.csv"], tmp_path, LAYOUT, csv)
    assert refused.value.code == "no_column"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> tuple[Path, pa.Table, pa.Table]:
    """A release with two directors, Object and Reference, and what they were made from."""
    folder, rng = tmp_path_factory.mktemp("release"), np.random.default_rng(11)
    made, references = objects(rng, 6000, 100), objects(rng, 6000, -3000).select(["objectId", "ra", "dec"])
    references = references.rename_columns(["refId", "ra", "dec"])
    cut_up(OBJECT, [write(made, folder / "object.parquet", 1000)], folder, workers, layout=LAYOUT)
    cut_up(REFERENCE, [write(references, folder / "reference.parquet")], folder, workers, layout=LAYOUT)
    return folder, made, references


def test_a_child_follows_its_director_by_id_and_unknown_ids_are_rejected(
    release: tuple[Path, pa.Table, pa.Table], workers: Workers, rng: np.random.Generator
) -> None:
    folder, made, _ = release
    table = sources(rng, made["objectId"].to_numpy(), 9000)
    ids = table["objectId"].to_pylist()
    ids[5], ids[6], ids[7] = 99, None, 7000
    table = table.set_column(1, "objectId", pa.array(ids, pa.int64()))
    manifest = cut_up(SOURCE, [write(table, folder / "source.parquet", 2000)], folder, workers, layout=LAYOUT).manifest
    assert manifest.rejected == {"key_missing": 1, "key_unknown": 2}
    assert [(int(each["row"]), each["fields"]) for each in rejects(folder / "Source")] == [
        (6, "99"), (7, "None"), (8, "7000")
    ]  # fmt: skip
    where = places(folder / "Object")
    found = lines(folder / "Source")
    assert len(found) == 8997 and not any(file.overlap for file in manifest.files)
    assert all((number(row[-2]), number(row[-1])) == where[number(row[1])] for _, row in found)
    assert all(chunk == number(row[-2]) for chunk, row in found)


def test_a_child_of_csv_by_id_is_the_same_as_of_parquet(
    release: tuple[Path, pa.Table, pa.Table], workers: Workers, tmp_path: Path
) -> None:
    folder, made, _ = release
    ids = made["objectId"].to_pylist()[:50]
    (tmp_path / "source.csv").write_text("".join(f"{i},{each},1.5\n" for i, each in enumerate([*ids, "x", "\\N", 5.5])))
    (tmp_path / "Object").symlink_to(folder / "Object")
    manifest = cut_up(SOURCE, [tmp_path / "source.csv"], tmp_path, workers, layout=LAYOUT).manifest
    assert manifest.rejected == {"key_missing": 1, "key_not_an_integer": 2}
    where = places(folder / "Object")
    assert {number(row[0]): (number(row[-2]), number(row[-1])) for _, row in lines(tmp_path / "Source")} == {
        i: where[each] for i, each in enumerate(ids)
    }


def test_a_match_goes_to_the_chunks_of_its_two_and_far_pairs_across_a_border_are_rejected(
    release: tuple[Path, pa.Table, pa.Table], workers: Workers
) -> None:
    folder, made, references = release
    left = {row["objectId"]: (row["ra"], row["dec"]) for row in made.to_pylist()}
    right = {row["refId"]: (row["ra"], row["dec"]) for row in references.to_pylist()}
    of_left, of_right = places(folder / "Object"), places(folder / "Reference")
    pairs: list[tuple[int | None, int | None]] = []
    spots = np.array(list(right.values()))
    for each, (ra, dec) in left.items():
        near = int(np.argmin(np.hypot((spots[:, 0] - ra) * np.cos(np.radians(dec)), spots[:, 1] - dec)))
        pairs.append((each, list(right)[near]))
    pairs += [(101, None), (None, -3), (None, None), (101, 10**15)]
    table = pa.table(
        {
            "objectId": pa.array([each for each, _ in pairs], pa.int64()),
            "refId": pa.array([each for _, each in pairs], pa.int64()),
            "score": np.arange(len(pairs)) / 2,
        }
    )
    manifest = cut_up(MATCH, [write(table, folder / "match.parquet")], folder, workers, layout=LAYOUT).manifest
    expected: Counter[tuple[int, int, int, int]] = Counter()
    rejected: Counter[str] = Counter()
    for i, (a, b) in enumerate(pairs):
        if a is None and b is None:
            rejected["key_missing"] += 1
        elif (a is not None and a not in of_left) or (b is not None and b not in of_right):
            rejected["key_unknown"] += 1
        elif a is None or b is None:
            place = of_left[a] if a is not None else of_right[b or 0]
            expected[i, *place, 1 if a is not None else 2] += 1
        elif of_left[a][0] == of_right[b][0]:
            expected[i, *of_left[a], 3] += 1
        elif apart(left[a], right[b]) <= LAYOUT.overlap:
            expected[i, *of_left[a], 1] += 1
            expected[i, *of_right[b], 2] += 1
        else:
            rejected["pair_too_far"] += 1
    found = Counter(
        (round(2 * float(row[2] or b"")), number(row[-3]), number(row[-2]), number(row[-1]))
        for _, row in lines(folder / "RefMatch")
    )
    assert found == expected and manifest.rejected == dict(rejected)
    flags = Counter(each[3] for each in expected)
    assert min(flags.values()) > 10 and rejected["pair_too_far"] > 10


def apart(a: tuple[float, float], b: tuple[float, float]) -> float:
    """The angle between two positions, degrees."""
    vectors = []
    for ra, dec in (np.radians(a), np.radians(b)):
        vectors.append(np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]))
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(*vectors)), vectors[0] @ vectors[1])))


def test_a_regular_table_is_written_as_it_is(tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "filter.csv").write_text("0,u\n1,g\n2,\\N\n")
    manifest = cut_up(FILTER, [tmp_path / "filter.csv"], tmp_path, workers).manifest
    (file,) = manifest.files
    assert (manifest.layout, file.chunk, file.overlap, file.path) == (None, 0, False, "rows.txt")
    assert (tmp_path / "Filter/rows.txt").read_text() == "0,u\n1,g\n2,\\N\n"


def test_a_directors_key_that_names_two_rows_is_refused_and_leaves_no_manifest(
    tmp_path: Path, workers: Workers, rng: np.random.Generator
) -> None:
    file = write(objects(rng, 50), tmp_path / "a.parquet")
    again = write(objects(rng, 10, 45), tmp_path / "b.parquet")
    with pytest.raises(Fatal, match="45") as refused:
        cut_up(OBJECT, [file, again], tmp_path, workers, layout=LAYOUT)
    assert refused.value.code == "duplicate_key"
    assert not (tmp_path / "Object/manifest.jsonl").exists()


def test_an_empty_catalogue_is_a_table_without_files(tmp_path: Path, workers: Workers) -> None:
    (tmp_path / "none.csv").write_text("")
    empty = pa.schema([("objectId", pa.int64()), ("ra", pa.float64()), ("dec", pa.float64()), ("flux", pa.float64())])
    file = write(empty.append(pa.field("name", pa.string())).empty_table(), tmp_path / "e.parquet")
    manifest: Manifest = cut_up(OBJECT, [tmp_path / "none.csv", file], tmp_path, workers, layout=LAYOUT).manifest
    assert (manifest.rows, manifest.files) == (0, ())
    assert lines_of(tmp_path / "Object/rejects.csv") == Counter([b"reason,file,row,fields"])


@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_batch_of_texts_that_no_varchar_holds_has_few_rows(kind: str) -> None:
    few = batches.rows_of(Table("T", Role.REGULAR, (column("id", "long"), column("text", kind))))
    assert few * LONGEST_VARCHAR <= batches.TEXT_BYTES and batches.rows_of(FILTER) > 10 * few
