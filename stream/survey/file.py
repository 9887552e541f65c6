"""A survey: its file loaded and checked, and the conversion of a batch's columns into Level-1's."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from stream.alert import Columns, Level1Column, Refusal
from stream.errors import Fatal, Wrong
from stream.sky import off_sky, reduce_ra
from stream.survey.convert import Converter, blank, flags
from stream.survey.fields import Packets
from stream.survey.target import FLAG_BITS, TARGETS
from stream.survey.times import nights
from stream.survey.vocabulary import FlagRule, SurveyFile

_WORDS = {
    "extra_forbidden": "there is no such key",
    "model_type": "a table is meant",
    "dict_type": "a table is meant",
    "missing": "it must be there",
}
"""What some of pydantic's kinds of error are called here."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Which packet field feeds which Level-1 column, for one survey.

    Attributes
    ----------
    text
        The survey file, whole.
    rules
        What the file says.
    digest
        SHA-256 of the text, hexadecimal.
    paths
        Every dotted field path that a column may come from, older spellings included.
    """

    text: str
    rules: SurveyFile
    digest: str = field(init=False)
    paths: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        read = {path for rule in self.rules.columns.values() for path in rule.paths()}
        for rule in self.rules.flags.values():
            read.update(rule.paths() if isinstance(rule, FlagRule) else rule)
        object.__setattr__(self, "paths", frozenset(read))
        object.__setattr__(self, "digest", hashlib.sha256(self.text.encode("utf-8")).hexdigest())

    @property
    def name(self) -> str:
        """The survey's name, as table ``surveys`` keeps it."""
        return self.rules.name

    @property
    def topics(self) -> tuple[str, ...]:
        """What the survey calls its topics: a help, nothing more."""
        return self.rules.topics

    def night_of(self, mjd_tai: ArrayLike) -> NDArray[np.int64]:
        """The night of each time (MJD TAI, finite) as YYYYMMDD, counted as the survey counts its nights."""
        return nights(np.atleast_1d(np.asarray(mjd_tai, dtype=np.float64)), self.rules.night_starts)

    def convert(
        self, columns: Columns, buffer: bytes | memoryview | NDArray[np.uint8], n: int
    ) -> tuple[dict[str, Level1Column], list[Refusal]]:
        """The Level-1 columns of `n` packets, from ``night`` to ``flags``, in the order of the table.

        Parameters
        ----------
        columns
            Packet fields by path, all of one writer schema; those that the schema lacks are not there.
        buffer
            The bytes into which text columns point.
        n
            How many packets.

        Returns
        -------
        tuple
            The columns by name (``ra`` reduced to [0, 360) degrees), and the rows that cannot be taken, in order, one
            reason each (codes ``missing_value``, ``bad_time``, ``bad_position``, ``bad_utf8``, ``wrong_type``). The
            columns have a row for these too, with what could be read of it; its night means nothing.
        """
        packets = Packets(columns, memoryview(cast(Any, buffer)), n)
        low, _high = self.rules.valid_mjd
        made: dict[str, Level1Column] = {}
        with np.errstate(all="ignore"):
            self._fill(Converter(packets, self.rules.valid_mjd, made))
            self._check(packets, made)
            times = made["midpointMjdTai"].values.astype(np.float64, copy=False)
            if packets.refused:
                times = times.copy()
                times[list(packets.refused)] = low
            bits = flags(packets, {FLAG_BITS[name]: rule for name, rule in self.rules.flags.items()})
        never = np.zeros(n, dtype=np.bool_)
        row = {"night": Level1Column(self.night_of(times) if n else np.zeros(0, dtype=np.int64), never)}
        row |= {target.name: made[target.name] for target in TARGETS}
        row["flags"] = Level1Column(bits, never)
        return row, [Refusal(index, *packets.refused[index]) for index in sorted(packets.refused)]

    def _fill(self, converter: Converter) -> None:
        rules = self.rules.columns
        for errors_of_magnitudes in (False, True):
            for target in TARGETS:
                rule = rules.get(target.name)
                if rule is None:
                    converter.made[target.name] = blank(target.kind, converter.packets.n)
                elif bool(rule.errors_of()) == errors_of_magnitudes:
                    converter.made[target.name] = converter.column(target, rule)

    def _check(self, packets: Packets, made: dict[str, Level1Column]) -> None:
        low, high = self.rules.valid_mjd
        for target in TARGETS:
            if target.required and target.name not in ("ra", "dec", "midpointMjdTai"):
                packets.refuse(made[target.name].null, "missing_value", f"{target.name} is missing")
        midpoint = made["midpointMjdTai"]
        times = midpoint.values.astype(np.float64, copy=False)
        bad_times = midpoint.null | ~((times >= low) & (times <= high))
        packets.refuse(bad_times, "bad_time", f"midpointMjdTai is missing or outside MJD {low:g} to {high:g}")
        ra, dec = made["ra"], made["dec"]
        reduced = reduce_ra(ra.values)
        nowhere = ra.null | dec.null | off_sky(reduced, dec.values)
        packets.refuse(nowhere, "bad_position", "ra or dec is missing, not finite or off the sky")
        made["ra"] = Level1Column(reduced, ra.null)


def load_survey(name_or_path: str | Path) -> Survey:
    """Load and check a survey file.

    Parameters
    ----------
    name_or_path
        The name of a survey file that skyburst ships, or the path of a TOML file.

    Raises
    ------
    Wrong
        Code ``unknown_survey``: there is neither such a name nor such a file.
    Fatal
        Code ``bad_survey_file``: the file is not TOML, or says what the vocabulary does not know.
    """
    shipped = files("schemas") / "surveys"
    names = sorted(item.name.removesuffix(".toml") for item in shipped.iterdir() if item.name.endswith(".toml"))
    wanted = str(name_or_path)
    if wanted in names:
        return parse_survey((shipped / f"{wanted}.toml").read_text(encoding="utf-8"), f"{wanted}.toml")
    try:
        text = Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        advice = f"give the path of a TOML file, or one of: {', '.join(names)}"
        raise Wrong("unknown_survey", f"there is no survey {wanted}: {error}", advice) from error
    return parse_survey(text, wanted)


def parse_survey(text: str, where: str) -> Survey:
    """Check the text of a survey file; `where` names it in errors. Raises as `load_survey` does."""
    advice = "docs/reference/survey-files.md has the vocabulary"
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(text)
        return Survey(text, SurveyFile.model_validate(document))
    except ValidationError as error:
        raise Fatal("bad_survey_file", f"{where}: {_first(error, document)}", advice) from error
    except (ValueError, RecursionError) as error:
        # Besides a TOMLDecodeError: a number of thousands of digits, brackets nested too deep.
        raise Fatal("bad_survey_file", f"{where}: {error}", advice) from error


def _first(error: ValidationError, document: dict[str, Any]) -> str:
    """The first thing wrong, with the table and key where it stands; a key that is misspelt goes before one missed."""
    found = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    place = ".".join(_keys(found["loc"], document, missed=found["type"] == "missing"))
    message = _WORDS.get(found["type"], found["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def _keys(places: Sequence[int | str], document: Any, *, missed: bool) -> Iterator[str]:
    """The keys of the file on the way to an error, without the names of types that pydantic puts between them."""
    at = document
    for place in places:
        inside = at if isinstance(at, dict) else dict(enumerate(at)) if isinstance(at, list) else {}
        if place in inside:
            at = inside[place]
            yield str(place)
    if missed:
        yield str(places[-1])
