"""The page of the release's benchmark says each figure beside its target, and whether it is met."""

from __future__ import annotations

import json

from tests.bench.measures import Measure
from tests.bench_release import report
from tests.bench_release.part import Part

PARTS = {
    "partition": Part(
        (Measure("partition over write_csv", 1.07, ">=", 1.0), Measure("memory", 1043.0, "<=", 1000.0, "MB")),
        (("rows", "5,000,000"),),
        {"seconds": [1.5, 2.5]},
    ),
    "load": Part((Measure("load over LOAD DATA", 0.93, ">=", 0.9),)),
}
FACTS = {"machine": {"cpu": "2 x any"}}


def test_the_page_has_every_figure_with_its_target_and_what_is_not_met() -> None:
    page = report.as_page(PARTS, FACTS)
    assert "| partition over write_csv | 1.07 | at least 1 | met |" in page
    assert "| memory | 1043 MB | at most 1000 MB | **not met** |" in page
    assert "| load over LOAD DATA | 0.93 | at least 0.9 | met |" in page
    assert "## Partition\n\n| what | measured |\n| --- | --- |\n| rows | 5,000,000 |" in page and "## Load" not in page
    assert "- machine: cpu 2 x any" in page


def test_the_json_has_every_round() -> None:
    found = json.loads(report.as_json(PARTS, FACTS))
    assert [each["met"] for each in found["measures"]] == [True, False, True]
    assert found["parts"]["partition"]["rounds"] == {"seconds": [1.5, 2.5]}
