"""Names of segment files: a folder a night, then integers and random hex only, so that no packet reaches a path."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Literal

from stream.errors import Fatal

Role = Literal["data", "open_index", "index", "retired"]
SUFFIX: dict[Role, str] = {"data": "avro", "open_index": "arrows", "index": "parquet", "retired": "retired"}
_ROLE: dict[str, Role] = {suffix: role for role, suffix in SUFFIX.items()}
_NAME = re.compile(r"([0-9]{8})/([0-9]{1,19})-([0-9a-f]{16})\.(avro|arrows|parquet|retired)")
_FOLDER = re.compile(r"[0-9]{8}")

Token = Callable[[], str]
"""Gives sixteen random hex digits: what makes each file's name one that was never used before."""


def random_token() -> str:
    """Return sixteen random hex digits from the system's source."""
    return secrets.token_hex(8)


def random_number() -> int:
    """Return a random 63-bit number above zero for a new segment: never used before, but for one chance in 2^63."""
    return secrets.randbits(63) or 1


def file_name(night: int, number: int, token: str, role: Role) -> str:
    """Return the name, relative to the store, of a file of segment `number` of `night` (YYYYMMDD)."""
    return parsed(f"{night:08d}/{number}-{token}.{SUFFIX[role]}")


def parsed(name: str) -> str:
    """Return `name` if it is one of ours, else raise Fatal: a row of ``segments`` may lead nowhere else."""
    if _NAME.fullmatch(name) is None:
        raise Fatal("segment_name", f"{name!r} is not the name of a segment file")
    return name


def is_folder(name: str) -> bool:
    """Tell whether `name` is that of a night's folder."""
    return _FOLDER.fullmatch(name) is not None


def number_of(name: str) -> int | None:
    """Return the number in a file's name, None where it is not one of ours."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[2])


def role_of(name: str) -> Role:
    """Return what the file of this name is."""
    return _ROLE[parsed(name).rpartition(".")[2]]


def night_of(name: str) -> int:
    """Return the night (YYYYMMDD) in whose folder the file lies."""
    return int(parsed(name)[:8])
