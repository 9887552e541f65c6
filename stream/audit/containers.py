"""Avro object container files, read by fastavro whatever the schema in their header says of defaults."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import fastavro

_MAGIC = b"Obj\x01"
_HEADER: Any = fastavro.parse_schema(
    {
        "type": "record",
        "name": "header",
        "fields": [
            {"name": "magic", "type": {"type": "fixed", "name": "magic", "size": 4}},
            {"name": "meta", "type": {"type": "map", "values": "bytes"}},
            {"name": "sync", "type": {"type": "fixed", "name": "sync", "size": 16}},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class Header:
    """A container's header.

    Attributes
    ----------
    meta
        Its entries.
    plain
        A header with the same codec and sync marker and a schema to which nobody can object: before the blocks it makes
        a file of which fastavro reads blocks.
    """

    meta: Mapping[str, bytes]
    plain: bytes

    def text(self, key: str) -> str:
        """An entry that is text; raises KeyError or ValueError."""
        return self.meta[key].decode()


def read_header(file: IO[bytes]) -> Header:
    """Read the header at which a file stands, and leave the file behind it; raises whatever fastavro raises."""
    found: Any = fastavro.schemaless_reader(file, _HEADER, None, handle_unicode_errors="replace")
    if found["magic"] != _MAGIC:
        raise ValueError("it does not begin as an Avro container file")
    codec = {key: value for key, value in found["meta"].items() if key == "avro.codec"}
    plain = io.BytesIO()
    fastavro.schemaless_writer(plain, _HEADER, found | {"meta": {"avro.schema": b'"bytes"', **codec}})
    return Header(found["meta"], plain.getvalue())


def read_container(message: bytes) -> tuple[str, Iterator[tuple[int, bytes]]]:
    """The writer schema's JSON of a container in memory, and its blocks: how many records, and their bytes."""
    file = io.BytesIO(message)
    header = read_header(file)
    blocks: Any = fastavro.block_reader(io.BytesIO(header.plain + file.read()))
    return header.text("avro.schema"), ((block.num_records, block.bytes_.getvalue()) for block in blocks)
