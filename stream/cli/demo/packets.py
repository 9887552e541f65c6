"""What the demo sends: real packets where they are, made ones, a damaged one, and some of them twice."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import stream

DATA_VARIABLE = "SKYBURST_TEST_DATA"
_FRAME_MAGIC = b"\x00"
_TWICE = 4


@dataclass(frozen=True, slots=True)
class Sent:
    """What goes into the stream, and what must come of it.

    Attributes
    ----------
    survey
        The shipped survey that the made packets are modelled on.
    sources
        As `skyburst replay` takes them, in this order.
    real
        Files of the real packets among them.
    made, repeated, damaged
        How many packets are made up, sent a second time, and bytes that nobody can read.
    """

    survey: str
    sources: tuple[str, ...]
    real: tuple[Path, ...]
    made: int
    repeated: int
    damaged: int

    @property
    def new(self) -> int:
        """How many distinct packets there are."""
        return len(self.real) + self.made

    def says(self) -> str:
        """One line about them."""
        real = (
            f"{len(self.real)} real packets of {self.real[0].parent} and " if self.real else "no real packets at hand; "
        )
        return f"{real}{self.made:,} made ones, {self.repeated} of them sent twice, {self.damaged} damaged"


def packets(alerts: int, folder: Path) -> Sent:
    """Choose them; what has to be made first is written into `folder`.

    Parameters
    ----------
    alerts
        How many made packets the visit has.
    """
    model = _model()
    survey = str(model["survey"])
    real = _real(survey)
    visit = f"synthetic:visits=1,alerts={alerts},size=62k,seed=1"
    deep = f"synthetic:visits=1,alerts={_TWICE},size=real,seed=2,first_visit=2"
    damaged = folder / "damaged.wire"
    damaged.write_bytes(_cut(real, int(model["schema_id"])))
    made = alerts + (0 if real else _TWICE)
    # The first one sent is the one that is shown in the end: a real one where there are any.
    twice = str(real[0].parent) if real else deep
    order = (twice, visit) if real else (visit, twice)
    return Sent(survey, (*order, str(damaged), twice), real, made, len(real) or _TWICE, 1)


def _model() -> dict[str, Any]:
    shipped = sorted((each for each in (files("schemas") / "synthetic").iterdir()), key=lambda each: each.name)
    return tomllib.loads(next(each for each in shipped if each.name.endswith(".toml")).read_text(encoding="utf-8"))


def _real(survey: str) -> tuple[Path, ...]:
    for data in _folders():
        found = sorted((data / survey).glob("*.wire")) if (data / survey).is_dir() else []
        if found:
            return tuple(path.resolve() for path in found)
    return ()


def _folders() -> Iterator[Path]:
    """Where real packets may be: the variable alone where it is set, else beside the checkout."""
    named = os.environ.get(DATA_VARIABLE)
    if named is not None:
        yield Path(named)
        return
    yield Path(stream.__file__).resolve().parents[2] / "shared" / "data"
    yield Path.cwd().parent / "shared" / "data"


def _cut(real: tuple[Path, ...], schema_id: int) -> bytes:
    """A packet whose second half is missing."""
    if real:
        whole = real[0].read_bytes()
        return whole[: len(whole) // 2]
    return _FRAME_MAGIC + schema_id.to_bytes(4, "big") + b"\x02"
