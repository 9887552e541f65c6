"""The images inside a packet, told by their bytes: FITS, whole or compressed with gzip, wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ENDINGS = {b"SIMPLE  =": ".fits", b"\x1f\x8b": ".fits.gz"}


def images(record: Mapping[str, Any]) -> dict[str, bytes]:
    """File name, made of the field's path in the packet, to the bytes of each image in `record`."""
    return {re.sub(r"[^\w.-]", "_", path) + ending: data for path, data, ending in _walk(record, "")}


def _walk(value: Any, path: str) -> Iterator[tuple[str, bytes, str]]:
    if isinstance(value, bytes):
        for start, ending in _ENDINGS.items():
            if value.startswith(start):
                yield path, value, ending
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _walk(item, f"{path}.{number}")
