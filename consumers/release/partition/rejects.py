"""Rows that went nowhere, listed for whoever mends them: ``rejects.csv``."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence

from consumers.release.manifest import REJECTS
from consumers.release.partition.cut import part_of
from consumers.release.partition.job import Job
from consumers.release.partition.parts import Summary

COLUMNS = ("reason", "file", "row", "fields")
"""Rows count from 1 in each file, without a header; the fields are those that rows are placed by."""


def write_rejects(job: Job, summaries: Sequence[Summary]) -> None:
    """List the rejected rows of all pieces, in order of the files and their rows."""
    new = job.folder / (REJECTS + ".new")
    before, source = 0, -1
    with new.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for summary in summaries:
            if summary.source != source:
                before, source = 0, summary.source
            if summary.rejected:
                with part_of(job, summary.piece).path("rejects").open(encoding="utf-8") as lines:
                    for reason, row, shown in map(json.loads, lines):
                        writer.writerow((reason, job.sources[source].name, before + row + 1, shown))
            before += summary.rows
    new.replace(job.folder / REJECTS)
