"""The closed vocabulary of a survey file, checked when the file is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from stream.survey.target import FLAG_BITS, TARGETS, Kind

KINDS: dict[str, Kind] = {target.name: target.kind for target in TARGETS}
UTC_SINCE_MJD = 41317.0
"""1972-01-01: before it, UTC had no whole leap seconds."""


def _spellings(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError("a path is meant, or a list of paths")
    return (value,) if isinstance(value, str) else tuple(value)


def _array(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError("a list is meant")
    return tuple(value)


def _held(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a whole number has at most 64 bits")
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("a number is finite")
    return value


def _single(value: Any) -> Any:
    if not isinstance(value, bool | int | float | str):
        raise ValueError("a number is meant, a text, true or false")
    return _held(value)


Number = Annotated[float | int, BeforeValidator(_held)]
Divisor = Annotated[int, BeforeValidator(_held), Field(ge=1)]
Value = Annotated[bool | int | float | str, BeforeValidator(_single)]
Path = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_spellings), Field(min_length=1)]
Values = Annotated[tuple[Value, ...], BeforeValidator(_array)]


class Table(BaseModel):
    """A table of the file: a key it does not know is an error, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TimeRule(Table):
    """How a field tells a time: what it counts, and on which scale."""

    format: Literal["mjd", "jd", "unix_us"]
    scale: Literal["tai", "utc"]


class PlusRule(Table):
    """A second field times a factor, added; `default` stands where the second field is null or absent."""

    field: Paths
    factor: Number = 1.0
    default: Number | None = None


class SignRule(Table):
    """Which values of another field make a flux positive, and which negative; any other value makes it null."""

    field: Paths
    positive: Values
    negative: Values


class ColumnRule(Table):
    """Where one Level-1 column comes from. The steps apply in the order in which they stand here."""

    field: Paths
    text: bool = False
    none: Values = ()
    map: dict[str, Value] | None = None
    scale: Number | None = None
    offset: Number | None = None
    div: Divisor | None = None
    mod: Divisor | None = None
    time: TimeRule | None = None
    plus: PlusRule | None = None
    magnitude: Literal["ab"] | None = None
    sign: SignRule | None = None
    magnitude_error: str | None = None
    otherwise: Self | None = Field(default=None, alias="else")

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        counted = [name for name in ("scale", "offset", "div", "mod") if getattr(self, name) is not None]
        kinds = [name for name in ("time", "magnitude", "magnitude_error") if getattr(self, name) is not None]
        if self.text and self.map is not None:
            raise ValueError("text and map exclude one another")
        if (self.text or self.map is not None) and (counted or kinds or self.plus):
            raise ValueError(f"{'text' if self.text else 'map'} goes with none and else only")
        if len(kinds) > 1:
            raise ValueError(f"{' and '.join(kinds)} exclude one another")
        if (self.sign is None) != (self.magnitude is None):
            raise ValueError("magnitude and sign go together")
        return self

    def chain(self) -> Iterator[ColumnRule]:
        """The rule, and those that its `else` leads to."""
        rule: ColumnRule | None = self
        while rule is not None:
            yield rule
            rule = rule.otherwise

    def paths(self) -> Iterator[str]:
        """Every dotted path that the rule may read."""
        for rule in self.chain():
            yield from rule.field
            for part in (rule.plus, rule.sign):
                if part is not None:
                    yield from part.field

    def errors_of(self) -> set[str]:
        """The columns of whose magnitudes the rule, or one that its `else` leads to, is the error."""
        return {rule.magnitude_error for rule in self.chain() if rule.magnitude_error is not None}

    def fits(self, kind: Kind) -> str | None:
        """Why the rule cannot feed a column of this kind; None if it can."""
        if kind == "text" and not (self.text or self.map is not None):
            return "a text column needs text or map"
        if kind != "text" and self.text:
            return "text feeds text columns only"
        if kind != "float" and (self.time or self.magnitude or self.magnitude_error or self.plus):
            return "time, plus, magnitude and magnitude_error feed floating columns only"
        if kind != "int" and (self.div or self.mod):
            return "div and mod feed integer columns only"
        wanted: tuple[type, ...] = {"text": (str,), "int": (int,), "float": (int, float)}[kind]
        if self.map is not None and not all(isinstance(value, wanted) for value in self.map.values()):
            return f"map gives values that are not of a {kind} column"
        return self.otherwise.fits(kind) if self.otherwise is not None else None


class FlagRule(Table):
    """A flag that is set where a field has one of the given values."""

    field: Paths
    values: Values

    def paths(self) -> Iterator[str]:
        """Every dotted path that the rule may read."""
        yield from self.field


def _kind_of_flag(value: Any) -> str:
    return "table" if isinstance(value, dict) else "paths"


Flag = Annotated[
    Annotated[Paths, Tag("paths")] | Annotated[FlagRule, Tag("table")],
    Discriminator(_kind_of_flag),
]
"""A path, a list of paths, or a table with values: told apart by what it is, so that what is wrong is said of that."""


class NightRule(Table):
    """When a night starts: hours after midnight, on which scale; it takes the date on which it started."""

    hours: Annotated[float, Field(ge=0, lt=24)]
    scale: Literal["tai", "utc"]


class SurveyFile(Table):
    """A whole survey file."""

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9_-]{0,63}$")]
    topics: Annotated[tuple[str, ...], BeforeValidator(_array)] = ()
    night_starts: NightRule
    valid_mjd: Annotated[tuple[float, float], BeforeValidator(_array)]
    columns: dict[str, ColumnRule]
    flags: dict[str, Flag] = {}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        low, high = self.valid_mjd
        if not UTC_SINCE_MJD <= low < high < 400_000.0:
            raise ValueError(f"valid_mjd: two MJDs in order, not before {UTC_SINCE_MJD:g} (1972) and below 400000")
        for name, rule in self.columns.items():
            if name not in KINDS:
                raise ValueError(f"columns.{name}: Level-1 has no such column; it has {', '.join(KINDS)}")
            if why := rule.fits(KINDS[name]):
                raise ValueError(f"columns.{name}: {why}")
            self._check_error(name, rule)
        missing = [target.name for target in TARGETS if target.required and target.name not in self.columns]
        if missing:
            raise ValueError(f"columns: {', '.join(missing)} must be there")
        if unknown := [name for name in self.flags if name not in FLAG_BITS]:
            raise ValueError(f"flags.{unknown[0]}: there is no such bit; there are {', '.join(FLAG_BITS)}")
        return self

    def _check_error(self, name: str, rule: ColumnRule) -> None:
        for named in rule.errors_of():
            flux = self.columns.get(named)
            if flux is None or flux.magnitude is None or flux.errors_of():
                raise ValueError(f"columns.{name}.magnitude_error: {named} is not a column made from a magnitude")
