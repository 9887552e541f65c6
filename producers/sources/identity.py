"""By what a source is known again: a run that is resumed counts its messages, so they must be the same ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import xxhash

from producers.receipts import Identity
from producers.sources.opening import NIGHT, SYNTHETIC, Means, model_of, night_number
from producers.sources.packet_files import find_files
from producers.sources.synthetic_model import load_model
from stream.codec.sources import open_schemas
from stream.errors import Wrong


def identities(names: Sequence[str], means: Means) -> list[Identity]:
    """What each of `names` holds now, read from folders and tables, and from no packet.

    Files and archives are known by their names, sizes and times of change, in their order, and by the survey file that
    orders their visits; stored nights by their segments and the packets in each; made visits by their model and schema.

    Raises
    ------
    stream.errors.Wrong
        As `open_sources`.
    """
    return [_identity(name, means) for name in names]


def _identity(name: str, means: Means) -> Identity:
    if name.startswith(SYNTHETIC):
        model = load_model(model_of(name))
        return Identity(name, "made visits", _digest([repr(model), _schema(means.schemas, model.schema_id)]))
    if name.startswith(NIGHT):
        segments = means.nights(name).segments(night_number(name))
        packets = sum(records for _, records in segments)
        holds = f"{len(segments)} segments with {packets} packets"
        return Identity(name, holds, _digest(f"{segment} {records}" for segment, records in segments))
    return _of_files(name, means.survey)


def _schema(schemas: str | None, schema_id: int) -> str:
    """The schema's JSON in one order of its keys: a package that puts it together may give another at each start."""
    return json.dumps(json.loads(open_schemas(schemas).get(schema_id).text), sort_keys=True)


def _of_files(name: str, survey: str) -> Identity:
    files, archives = find_files([Path(name)])
    lines, total = [survey], 0
    for path in (*files, *archives):
        try:
            found = path.stat()
        except OSError as error:
            raise Wrong("source_unreadable", f"{path}: {error.strerror}") from error
        total += found.st_size
        lines.append(f"{found.st_size} {found.st_mtime_ns} {path}")
    return Identity(name, f"{len(files)} packets and {len(archives)} archives of {total} bytes", _digest(lines))


def _digest(lines: Iterable[str]) -> str:
    digest = xxhash.xxh3_128()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()
