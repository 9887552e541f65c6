"""Parquet is streamed as it is: values, nulls and NaN stay, arrays of fixed size become a column each."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consumers.release.reading import DESCRIPTION, UNIT, open_catalogue
from stream.errors import Wrong

DAY = datetime.datetime(2026, 3, 5, 1, 2, 3, 456789)


def write(path: Path, table: pa.Table, rows: int = 4) -> Path:
    pq.write_table(table, path, row_group_size=rows)
    return path


def read(path: Path, columns: list[str] | None = None, rows: int = 3) -> pa.Table:
    return pa.Table.from_batches(open_catalogue(path).batches(columns, rows=rows))


def test_values_nulls_and_nan_come_as_they_are(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": pa.array(range(10), pa.int64()),
            "flux": pa.array([1.5, float("nan"), None, float("inf"), *range(6)], pa.float64()),
            "band": pa.array(["g", None, "", *"rizyugr"]),
            "flag": pa.array([True, False, None] * 3 + [True]),
            "when": pa.array([DAY] * 10, pa.timestamp("us")),
            "half": pa.array(np.arange(10, dtype=np.float32)),
        }
    )
    got = read(write(tmp_path / "t.parquet", table))
    assert got.to_pylist()[2:] == table.to_pylist()[2:]
    assert np.isnan(got["flux"][1].as_py()) and got["flux"].null_count == 1
    assert [each.num_rows for each in open_catalogue(tmp_path / "t.parquet").batches(rows=3)]
    assert open_catalogue(tmp_path / "t.parquet").rows == 10


def test_units_and_meanings_of_fields_are_kept_and_parquets_own_metadata_is_not(tmp_path: Path) -> None:
    field = pa.field("flux", pa.float64(), metadata={b"unit": b"nJy", b"description": b"PSF flux"})
    path = write(tmp_path / "t.parquet", pa.table([[1.0]], schema=pa.schema([field])))
    metadata = open_catalogue(path).schema.field("flux").metadata
    assert (metadata[UNIT], metadata[DESCRIPTION], len(metadata)) == (b"nJy", b"PSF flux", 2)


def test_lists_of_fixed_size_become_a_column_each_with_their_nulls(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 3)
    table = pa.table({"id": range(9), "ap": pa.array([[each, each + 0.5, None] for each in range(8)] + [None], kind)})
    got = read(write(tmp_path / "t.parquet", table), rows=2)
    assert got.column_names == ["id", "ap_0", "ap_1", "ap_2"]
    assert got["ap_1"].to_pylist() == [each + 0.5 for each in range(8)] + [None]
    assert got["ap_2"].null_count == 9


def test_dictionaries_become_their_values(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"band": pa.array(["g", "r", None, "g"]).dictionary_encode()}))
    assert read(path)["band"].to_pylist() == ["g", "r", None, "g"]
    assert open_catalogue(path).schema.field("band").type == pa.string()


def test_what_a_database_cannot_have_is_left_out_and_said(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2],
            "pixels": [[1, 2], [3]],
            "place": [{"x": 1.0}, {"x": 2.0}],
            "cutout": [b"\0", b"\1"],
            "__index_level_0__": [0, 1],
        }
    )
    catalogue = open_catalogue(write(tmp_path / "t.parquet", table))
    assert catalogue.schema.names == ["id"]
    why = {each.column: each.why for each in catalogue.left_out}
    assert why["pixels"] == "an array of variable length" and why["cutout"] == "bytes"
    assert set(why) == {"pixels", "place", "cutout", "__index_level_0__"}
    with pytest.raises(Wrong, match="pixels is left out: an array of variable length"):
        next(iter(catalogue.batches(["pixels"])))


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"a": [1], "b": [2], "c.d": [3]}))
    assert read(path, ["c.d", "a"]).to_pylist() == [{"c.d": 3, "a": 1}]


@pytest.mark.parametrize("keep", [4, 100, -1])
def test_a_broken_file_is_refused_and_named(keep: int, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"a": range(1000)}))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(Wrong) as refused:
        open_catalogue(path)
    assert refused.value.code == "bad_catalogue" and str(path) in refused.value.message


def test_damage_among_the_rows_is_refused_when_it_is_met(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table({"a": np.random.default_rng(1).random(1000)}), rows=1000)
    raw = bytearray(path.read_bytes())
    raw[8:60] = bytes(52)
    path.write_bytes(raw)
    with pytest.raises(Wrong, match="damaged") as refused:
        list(open_catalogue(path).batches())
    assert refused.value.code == "bad_catalogue"


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.table([[1], [2]], names=["a", "a"]))
    with pytest.raises(Wrong, match="column a more than once"):
        open_catalogue(path)
