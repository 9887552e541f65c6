"""One Level-1 column out of packet fields: each rule's steps, applied to a whole column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stream.alert import Level1Column
from stream.survey.fields import Array, Field, Mask, Packets, among, equal
from stream.survey.target import Kind, Target
from stream.survey.times import to_mjd, utc_to_tai
from stream.survey.vocabulary import ColumnRule, FlagRule, PlusRule, SignRule, TimeRule

Numbers = NDArray[np.float64] | NDArray[np.int64]

AB_ZERO_POINT = 31.4
"""The AB magnitude of 1 nJy."""

_INT64 = float(2**63)
_BLANKS: dict[Kind, Array] = {
    "text": np.array([""], dtype=np.object_),
    "int": np.zeros(1, dtype=np.int64),
    "float": np.zeros(1, dtype=np.float64),
}


@dataclass(frozen=True, slots=True)
class Converter:
    """Applies rules to one batch."""

    packets: Packets
    valid_mjd: tuple[float, float]
    made: dict[str, Level1Column]

    def column(self, target: Target, rule: ColumnRule) -> Level1Column:
        """The Level-1 column that `rule` makes, of the target's kind; what it cannot hold is null or refused."""
        return self._apply(target, rule, np.ones(self.packets.n, dtype=np.bool_))

    def _apply(self, target: Target, rule: ColumnRule, needed: Mask) -> Level1Column:
        """The column of all rows; only the `needed` ones mean something, and only they are refused."""
        made = _held(target, *self._steps(target, rule, needed))
        if rule.otherwise is None or not (missing := made.null & needed).any():
            return made
        other = self._apply(target, rule.otherwise, missing)
        return Level1Column(np.where(made.null, other.values, made.values), made.null & other.null)

    def _steps(self, target: Target, rule: ColumnRule, needed: Mask) -> tuple[Array, Mask]:
        field = self.packets.read(rule.field, needed)
        if field.kind is None:
            return _BLANKS[target.kind].repeat(self.packets.n), field.null
        null = field.null | among(field, rule.none) if rule.none else field.null
        if rule.map is not None:
            return _mapped(target, rule.map, field, null)
        if rule.text:
            return _as_text(field, null), null
        if field.kind == "text":
            self._refuse_text(target, rule.field, needed & ~null)
            return np.zeros(self.packets.n, dtype=np.int64), np.ones(self.packets.n, dtype=np.bool_)
        return self._numbers(target, rule, cast(Numbers, field.values), null, needed)

    def _refuse_text(self, target: Target, spellings: Sequence[str], rows: Mask) -> None:
        self.packets.refuse(rows, "wrong_type", f"{spellings[0]} is text, {target.name} a number")

    def _numbers(
        self, target: Target, rule: ColumnRule, values: Numbers, null: Mask, needed: Mask
    ) -> tuple[Array, Mask]:
        if target.kind == "float":
            values = values.astype(np.float64, copy=False)
        for step, by in ((np.multiply, rule.scale), (np.add, rule.offset)):
            if by is not None:
                if values.dtype.kind == "i":
                    # NumPy wraps whole numbers around in silence.
                    null = null | ~(np.abs(step(values.astype(np.float64), by)) < _INT64)
                values = step(values, by)
        if rule.div is not None:
            values = np.floor_divide(values, rule.div)
        if rule.mod is not None:
            values = np.remainder(values, rule.mod)
        if rule.time is not None:
            values, null = self._time(target, rule.time, values, null, needed)
        if rule.plus is not None:
            values, null = self._plus(target, rule.plus, values, null, needed)
        if rule.magnitude is not None and rule.sign is not None:
            return self._flux(rule.sign, values, null, needed)
        if rule.magnitude_error is not None:
            flux = self.made[rule.magnitude_error]
            return np.abs(flux.values) * values * (np.log(10.0) / 2.5), null | flux.null
        return values, null

    def _time(self, target: Target, rule: TimeRule, values: Numbers, null: Mask, needed: Mask) -> tuple[Numbers, Mask]:
        mjd = to_mjd(values.astype(np.float64, copy=False), rule)
        outside = ~null & ~((mjd >= self.valid_mjd[0]) & (mjd <= self.valid_mjd[1]))
        if outside.any():
            if target.required:
                self.packets.refuse(outside & needed, "bad_time", f"{target.name} lies outside MJD {self.valid_mjd}")
            null = null | outside
        if rule.scale == "utc":
            mjd = utc_to_tai(np.where(null, self.valid_mjd[0], mjd))
        return mjd, null

    def _plus(self, target: Target, rule: PlusRule, values: Numbers, null: Mask, needed: Mask) -> tuple[Numbers, Mask]:
        second = self.packets.read(rule.field, needed)
        if second.kind == "text":
            self._refuse_text(target, rule.field, needed & ~second.null)
            second = self.packets.read(())
        added, absent = cast(Numbers, second.values), second.null
        if rule.default is not None:
            added = np.where(absent, rule.default, added)
        else:
            null = null | absent
        return cast(Numbers, values + added * rule.factor), null

    def _flux(self, rule: SignRule, magnitude: Numbers, null: Mask, needed: Mask) -> tuple[Array, Mask]:
        field = self.packets.read(rule.field, needed)
        positive, negative = among(field, rule.positive), among(field, rule.negative)
        flux = np.power(10.0, (AB_ZERO_POINT - magnitude) / 2.5)
        return np.where(negative, -flux, flux), null | ~(positive | negative)


def _mapped(target: Target, table: dict[str, bool | int | float | str], field: Field, null: Mask) -> tuple[Array, Mask]:
    values: Array = _BLANKS[target.kind].repeat(len(null))
    mapped = np.zeros(len(null), dtype=np.bool_)
    for key, value in table.items():
        wanted = key if field.kind == "text" else _number(key)
        if wanted is None:
            continue
        rows = equal(field, wanted)
        values[rows] = value
        mapped |= rows
    return values, null | ~mapped


def _number(key: str) -> int | float | None:
    """What a key of a map stands for where the field is a number or a boolean; None where it is neither."""
    if key in ("true", "false"):
        return int(key == "true")
    try:
        whole = int(key)
    except ValueError:
        try:
            return float(key)
        except ValueError:
            return None
    return whole if -(2**63) <= whole < 2**63 else None


def _as_text(field: Field, null: Mask) -> Array:
    if field.kind == "text":
        values: Array = field.values
    else:
        values = np.empty(len(null), dtype=np.object_)
        values[:] = [str(value) for value in field.values.tolist()]
    return np.where(null, "", values) if null.any() else values


def _held(target: Target, values: Array, null: Mask) -> Level1Column:
    """A column of the target's kind: what it cannot hold is null."""
    if target.kind == "text":
        return Level1Column(values, null)
    if target.kind == "int":
        return _whole(values, null)
    numbers = values.astype(np.float64, copy=False)
    return _blank(numbers, null | ~np.isfinite(numbers))


def _whole(values: Array, null: Mask) -> Level1Column:
    if values.dtype.kind == "f":
        fits = (np.abs(values) < _INT64) & (values == np.floor(values))
        null = null | ~fits
        values = np.where(null, 0.0, values).astype(np.int64)
    return _blank(values, null)


def _blank(values: Array, null: Mask) -> Level1Column:
    return Level1Column(np.where(null, 0, values) if null.any() else values, null)


def blank(kind: Kind, n: int) -> Level1Column:
    """A column that is null throughout."""
    return Level1Column(_BLANKS[kind].repeat(n), np.ones(n, dtype=np.bool_))


def flags(packets: Packets, rules: dict[int, tuple[str, ...] | FlagRule]) -> NDArray[np.int64]:
    """The bits of ``flags``, ``int64[n]``: a null boolean is 0, and so is a field that the schema lacks."""
    bits = np.zeros(packets.n, dtype=np.int64)
    for bit, rule in rules.items():
        if isinstance(rule, FlagRule):
            bits |= among(packets.read(rule.field), rule.values).astype(np.int64) << bit
            continue
        for path in rule:
            field = packets.read((path,))
            if field.kind == "text":
                packets.refuse(~field.null, "wrong_type", f"{path} is text, a flag a boolean")
            elif field.kind is not None:
                bits |= ((field.values != 0) & ~field.null).astype(np.int64) << bit
    return bits
