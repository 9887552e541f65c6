"""A source by what the command line calls it: paths, ``synthetic:…``, ``alertdb:NIGHT``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

from producers.sources.attribution import Attribution
from producers.sources.files import visits_in_files
from producers.sources.synthetic import SyntheticVisits
from stream.codec.sources import open_schemas
from stream.errors import Wrong
from stream.visit import Visit

SYNTHETIC, NIGHT = "synthetic:", "alertdb:"
_COUNTS = ("visits", "alerts", "seed", "first_visit")
_KEYS = (*_COUNTS, "size", "model", "start_mjd")


class Nights(Protocol):
    """The nights of one survey that are stored."""

    def visits(self, night: int) -> Iterator[Visit]:
        """The visits of `night` (YYYYMMDD)."""
        ...

    def segments(self, night: int) -> list[tuple[int, int]]:
        """The segments that hold the packets of `night`, in their order, and how many each has."""
        ...

    def oldest(self, night: int) -> int | None:
        """The smallest Kafka timestamp (ms since 1970 UTC) of a message of `night`; None where none has one."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What sources may need beside their names.

    Attributes
    ----------
    schemas
        The setting ``schemas``.
    attribution
        Tells the visit of a packet; None where no survey is set.
    survey
        Digest of the survey's file; empty where none is set.
    stored
        Opens the stored nights; None where no AlertDB and Level-1 are set.
    """

    schemas: str | None = None
    attribution: Attribution | None = None
    survey: str = ""
    stored: Callable[[], Nights] | None = None

    def nights(self, name: str) -> Nights:
        """The stored nights, for the source `name`; Wrong (``source``) where they cannot be had."""
        if self.stored is None:
            raise Wrong("source", f"{name} needs the AlertDB and Level-1", "give --alertdb, --level1 and --survey")
        return self.stored()


def open_sources(names: Sequence[str], means: Means) -> Iterator[Visit]:
    """The visits of all sources, one source after the other; paths that stand together are one source.

    Raises
    ------
    stream.errors.Wrong
        ``source``: a name that cannot be understood; else as the source itself.
    """
    paths: list[Path] = []
    for name in names:
        if not name.startswith((SYNTHETIC, NIGHT)):
            paths.append(Path(name))
            continue
        if paths:
            yield from visits_in_files(paths, means.attribution)
            paths = []
        yield from (
            _synthetic(name, means.schemas)
            if name.startswith(SYNTHETIC)
            else means.nights(name).visits(night_number(name))
        )
    if paths:
        yield from visits_in_files(paths, means.attribution)


def night_number(name: str) -> int:
    """The night (YYYYMMDD) that ``alertdb:NIGHT`` names."""
    text = name.removeprefix(NIGHT)
    if not (text.isascii() and text.isdigit() and len(text) == 8):
        raise Wrong("source", f"{name} is no night", "write alertdb:YYYYMMDD")
    return int(text)


def model_of(name: str) -> str:
    """The model, by name or path, that ``synthetic:…`` names."""
    return parse_spec(name.removeprefix(SYNTHETIC)).get("model") or _shipped_model()


def _synthetic(name: str, schemas: str | None) -> Iterator[Visit]:
    given = parse_spec(name.removeprefix(SYNTHETIC))
    counts = {key: _count(key, given[key]) for key in _COUNTS if key in given}
    start = given.get("start_mjd")
    try:
        start_mjd = None if start is None else float(start)
    except ValueError:
        raise Wrong("source", f"start_mjd={start} is no time", "write an MJD in TAI") from None
    return iter(
        SyntheticVisits(
            model_of(name),
            schemas=open_schemas(schemas),
            size=given.get("size"),
            start_mjd=start_mjd,
            **{"seed": 1, "visits": 1, **counts},
        )
    )


def _shipped_model() -> str:
    shipped = [entry.name for entry in resources.files("schemas").joinpath("synthetic").iterdir()]
    names = sorted(name.removesuffix(".toml") for name in shipped if name.endswith(".toml"))
    if len(names) != 1:
        raise Wrong("source", f"there are {len(names)} models: {', '.join(names)}", "say which with model=")
    return names[0]


def parse_spec(text: str) -> Mapping[str, str]:
    """``visits=2,alerts=10000`` as a mapping.

    Raises
    ------
    stream.errors.Wrong
        ``source``: an unknown key, a key twice, or no ``key=value``.
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if key not in _KEYS or not equals or key in found:
            raise Wrong("source", f"synthetic: {part} is not understood", f"known, once each: {', '.join(_KEYS)}")
        found[key] = value
    return found


def _count(key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise Wrong("source", f"synthetic: {key}={value} is no count", f"write {key}= and a whole number")
    return int(value)
