"""Qserv's own test cases: the chunk files that its partitioner made, line by line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from doubles.release_cases import DIALECTS, case_table, cut_up, lines, lines_of

from consumers.release.manifest import read
from consumers.release.partition.cluster import Workers, open_workers
from consumers.release.partition.object_index import ObjectIndex

CASES = ["case01", "case02_test101"]


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with open_workers() as opened:
        yield opened


@pytest.fixture(scope="module")
def releases(shared_data: Path, workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both cases, Object and Source, partitioned."""
    folder = tmp_path_factory.mktemp("cases")
    for case in CASES:
        source = shared_data / "qserv" / case
        for name in ("Object", "Source"):
            (file,) = (source / "input").glob(f"{name}.*")
            cut_up(case_table(source, name), [file], folder / case, workers, csv=DIALECTS[case])
    return folder


@pytest.mark.parametrize("name", ["Object", "Source"])
@pytest.mark.parametrize("case", CASES)
def test_partition_gives_exactly_the_lines_of_qservs_partitioner(
    shared_data: Path, releases: Path, case: str, name: str
) -> None:
    folder = releases / case / name
    expected = {
        path.name: lines_of(path)
        for path in (shared_data / "qserv" / case / "expected" / name).glob("chunk_*.txt")
        if path.name != "chunk_object_index.txt"
    }
    assert lines(folder, read(folder)) == expected
    assert sum(sum(each.values()) for each in expected.values()) > 100


@pytest.mark.parametrize("case", CASES)
def test_partition_manifest_says_what_is_in_each_file(releases: Path, case: str) -> None:
    for name in ("Object", "Source"):
        folder = releases / case / name
        manifest = read(folder)
        assert manifest.rejected == {} and manifest.layout is not None
        assert manifest.rows == sum(file.rows for file in manifest.files if not file.overlap)
        for file in manifest.files:
            data = (folder / file.path).read_bytes()
            assert (file.rows, file.bytes) == (data.count(b"\n"), len(data))
            assert file.sha256 == hashlib.sha256(data).hexdigest()
            assert [Path(each).stem for each in file.sources] == [name]
        assert (folder / "rejects.csv").read_text() == "reason,file,row,fields\n"
        assert (folder / "description.yaml").read_bytes() == b"description"
        assert not (folder / "work").exists()


@pytest.mark.parametrize("name", ["Object", "Source"])
def test_partition_has_as_many_rows_in_each_chunk_as_qserv_recorded(
    shared_data: Path, releases: Path, name: str
) -> None:
    chunks = json.loads((shared_data / "qserv/case01/upstream_lfs" / name / "chunk_info.json").read_text())["chunks"]
    manifest = read(releases / "case01" / name)
    counted = {(file.chunk, file.overlap): file.rows for file in manifest.files}
    found = [{"id": each, "nrec": [counted[each, False], counted.get((each, True), 0)]} for each in manifest.chunks]
    assert found == chunks


def test_partition_leaves_an_index_of_the_directors_ids(releases: Path) -> None:
    folder = releases / "case01" / "Object"
    places = {}
    for file in read(folder).files:
        if not file.overlap:
            for line in (folder / file.path).read_bytes().split(b"\n")[:-1]:
                fields = line.split(b"\t")
                places[int(fields[0])] = (int(fields[-2]), int(fields[-1]))
    ids = np.array([*places, 17], np.int64)
    found = ObjectIndex.open(folder).find(ids, np.ones(len(ids), bool))
    assert found.known.tolist() == [True] * len(places) + [False]
    assert list(zip(found.chunk.tolist(), found.sub_chunk.tolist()))[:-1] == list(places.values())
