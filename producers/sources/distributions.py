"""How the fields of made-up packets are distributed: what a model file says of a field, and drawing from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from producers.sources.encoding import FieldType, Mask, Values

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


When = Literal["fixed", "moving"]
Given = Literal["source", "object", "visit", "detector", "midpoint", "processed", "ra", "dec", "x", "y", "past"]
"""What a model may ask of the generator: ids, times (MJD TAI), the position (degrees, and pixels on the detector), and
in a history ``past``: times before the alert's, in order."""


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(as_tuple)]


class Table(BaseModel):
    """A table of a model file: closed, like those of survey files."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Distribution(Table):
    """How one field is distributed: exactly one of `quantiles`, `true`, `choice` and `is`.

    Attributes
    ----------
    quantiles
        Values at equally spaced probabilities from 0 to 1, straight lines between them.
    step
        The least difference of two values.
    true
        How often a boolean is true.
    choice
        Texts with their weights.
    is_
        A value that the generator gives, one of `Given`.
    scatter
        Standard deviation of a normal scatter about the value that `is` names, in its own unit.
    null
        How often the field is null.
    when
        ``fixed`` or ``moving``: null unless the alert is of a fixed or of a moving object.
    group
        Fields of one group are null together.
    """

    quantiles: Numbers | None = None
    true: Fraction | None = None
    choice: dict[str, float] | None = None
    is_: Given | None = Field(default=None, alias="is")
    scatter: float = 0.0
    step: Annotated[float, Field(gt=0)] | None = None
    null: Fraction = 0.0
    when: When | None = None
    group: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in (self.quantiles, self.true, self.choice, self.is_) if kind is not None]
        if len(given) > 1 or (not given and self.null < 1.0):
            raise ValueError("give one of quantiles, true, choice and is, or null = 1.0")
        if self.quantiles is not None and len(self.quantiles) < 2:
            raise ValueError("quantiles has at least two values")
        if self.step is not None and (self.true is not None or self.choice is not None):
            raise ValueError("step goes with quantiles and is")
        return self

    def sample(self, rng: Generator, n: int) -> Values:
        """`n` values, of no meaning where the field turns out null."""
        if self.quantiles is not None:
            return interpolate(self.quantiles, rng.random(n))
        if self.true is not None:
            return rng.random(n) < self.true
        if self.choice is not None:
            weights = np.array(list(self.choice.values()))
            texts = np.array([text.encode() for text in self.choice], dtype=np.object_)
            return texts[rng.choice(len(texts), size=n, p=weights / weights.sum())]
        return np.zeros(n)


def interpolate(quantiles: tuple[float, ...], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at the probabilities `at`."""
    return np.asarray(np.interp(at * (len(quantiles) - 1), np.arange(len(quantiles)), quantiles))


def draw(
    fields: list[FieldType],
    distributions: Mapping[str, Distribution],
    given: Mapping[str, Values],
    moving: Mask,
    rng: Generator,
) -> dict[str, tuple[Values, Mask | None]]:
    """Columns for as many records as `moving` has: what is given by name, the rest from its distribution.

    A field without a distribution is null, or where it cannot be 0, false or empty.
    """
    n = len(moving)
    columns: dict[str, tuple[Values, Mask | None]] = {}
    lots: dict[str, NDArray[np.float64]] = {}
    for field in fields:
        rule = distributions.get(field.name)
        if rule is None:
            columns[field.name] = _nothing(field, n)
            continue
        if rule.is_ is not None:
            values = given[rule.is_]
            values = values + rng.normal(0.0, rule.scatter, n) if rule.scatter else values
        else:
            values = rule.sample(rng, n)
        if rule.step is not None:
            values = np.floor(values / rule.step) * rule.step
            if field.kind == "string" and rule.choice is None:
                values = np.full(n, b"", dtype=np.object_)
        null = None
        if field.value_branch:
            null = absent(rule.when, moving)
            if rule.null > 0.0:
                null |= (lots.setdefault(rule.group, rng.random(n)) if rule.group else rng.random(n)) < rule.null
        if field.kind in ("int", "long") and values.dtype.kind == "f":
            values = np.rint(values)
        columns[field.name] = values, null
    return columns


def absent(when: When | None, moving: Mask) -> Mask:
    """Which alerts lack what is there only when they are of a fixed or of a moving object."""
    return np.zeros(len(moving), dtype=np.bool_) if when is None else moving == (when == "fixed")


def _nothing(field: FieldType, n: int) -> tuple[Values, Mask | None]:
    values: Values = np.full(n, b"", dtype=np.object_) if field.kind == "string" else np.zeros(n)
    return values, np.ones(n, dtype=np.bool_) if field.value_branch else None
