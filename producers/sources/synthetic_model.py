"""The model of a made-up survey: a TOML file that names the schema, its fields and how they are distributed."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from producers.sources.distributions import Distribution, Fraction, Numbers, Table, When, as_tuple
from stream.errors import Fatal, Wrong


class Telescope(Table):
    """When visits come and how long they last.

    Attributes
    ----------
    start_mjd
        Middle of the first visit, MJD TAI.
    visit_every, exposure, readout
        Seconds.
    detectors_a_side, corner, pitch
        The focal plane: a square of detectors without a square of `corner` at each corner; degrees between two.
    pixels
        A detector's side, pixels.
    """

    start_mjd: float
    visit_every: Annotated[float, Field(gt=0)]
    exposure: Annotated[float, Field(gt=0)]
    readout: Annotated[float, Field(ge=0)]
    detectors_a_side: Annotated[int, Field(ge=1)]
    corner: Annotated[int, Field(ge=0)]
    pitch: Annotated[float, Field(gt=0, lt=10)]
    pixels: Annotated[int, Field(ge=1)]


class SkyField(Table):
    """A field of the sky: centre in degrees, how often it is visited, how many alerts a visit of it has."""

    name: str
    ra: float
    dec: Annotated[float, Field(ge=-85, le=85)]
    weight: Annotated[float, Field(gt=0)]
    alerts: Annotated[int, Field(ge=0)]


Pair = Annotated[tuple[int, int], BeforeValidator(as_tuple)]


class Size(Table):
    """How big packets are: lengths of the histories (quantiles; one draw for all of an alert's), and stamps.

    Attributes
    ----------
    histories
        By the name that the packet's parts give.
    stamps
        For each stamp the sides in pixels of its image (0: the packet has none there) and of its PSF (0: none).
    """

    histories: dict[str, Numbers]
    stamps: Annotated[tuple[Pair, ...], BeforeValidator(as_tuple)]


class Part(Table):
    """What one field at the top of the packet is made of: one of `record`, `history`, `stamp` and `value`.

    Attributes
    ----------
    record, history
        Names a table of `records`: one such record, or an array of them.
    length
        Which of the size's `histories` tells the array's length; the record's own name where not given.
    stamp
        Which stamp, from 0.
    value
        The field's own distribution.
    when
        ``fixed`` or ``moving``: null for other objects.
    """

    record: str | None = None
    history: str | None = None
    length: str | None = None
    stamp: int | None = None
    value: Distribution | None = None
    when: When | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Part:
        if sum(kind is not None for kind in (self.record, self.history, self.stamp, self.value)) != 1:
            raise ValueError("give one of record, history, stamp and value")
        return self


class Model(Table):
    """A whole model file.

    Attributes
    ----------
    survey
        The survey file that counts the nights.
    schema_id
        The writer schema; the packet's frame carries it.
    moving
        How many of the alerts are of moving objects.
    past_days
        How far back histories reach.
    records, past
        Distributions of records' fields; `past` has those that differ where the record lies in a history.
    """

    survey: str
    schema_id: Annotated[int, Field(ge=0, lt=2**31)]
    default_size: str
    moving: Fraction
    past_days: Annotated[float, Field(gt=0)]
    telescope: Telescope
    fields: Annotated[tuple[SkyField, ...], BeforeValidator(as_tuple), Field(min_length=1)]
    sizes: dict[str, Size]
    packet: dict[str, Part]
    records: dict[str, dict[str, Distribution]]
    past: dict[str, dict[str, Distribution]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Model:
        if self.default_size not in self.sizes:
            raise ValueError(f"default_size: there is no sizes.{self.default_size}")
        for name, part in self.packet.items():
            table = part.record or part.history
            if table is not None and table not in self.records:
                raise ValueError(f"packet.{name}: there is no records.{table}")
            for size_name, size in self.sizes.items():
                if part.history is not None and (part.length or part.history) not in size.histories:
                    raise ValueError(f"sizes.{size_name}.histories.{part.length or part.history} is missing")
                if part.stamp is not None and not 0 <= part.stamp < len(size.stamps):
                    raise ValueError(f"sizes.{size_name}.stamps has no stamp {part.stamp}")
        return self

    def size(self, name: str | None) -> Size:
        """The size of this name, the default one for None; Wrong (``unknown_size``) where there is none."""
        wanted = name or self.default_size
        if wanted not in self.sizes:
            raise Wrong("unknown_size", f"the model has no size {wanted}", f"it has: {', '.join(self.sizes)}")
        return self.sizes[wanted]


def load_model(name_or_path: str | Path) -> Model:
    """Load and check a model, shipped by name or by path; Wrong (``unknown_model``) or Fatal (``synthetic_model``)."""
    shipped = files("schemas") / "synthetic"
    names = sorted(item.name.removesuffix(".toml") for item in shipped.iterdir() if item.name.endswith(".toml"))
    try:
        source = shipped / f"{name_or_path}.toml" if str(name_or_path) in names else Path(name_or_path)
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        advice = f"give the path of a TOML file, or one of: {', '.join(names)}"
        raise Wrong("unknown_model", f"there is no model {name_or_path}: {error}", advice) from error
    try:
        return Model.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Fatal("synthetic_model", f"{name_or_path}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Fatal("synthetic_model", f"{name_or_path}: {place}: {first['msg']}") from error
