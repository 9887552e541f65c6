"""Standard queries, each with a name, parameters and what they mean.

No text of the caller's goes into the SQL as it is: a table or column is one of the release's description, a number is
written anew from its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consumers.release.query.parameters import COLUMN, COLUMNS, ID, NUMBER, TABLE, WHOLE, Asked, Parameter, quoted
from consumers.release.table import CHUNK, Database, Role
from stream.errors import Wrong


@dataclass(frozen=True, slots=True)
class Template:
    """A standard query.

    Parameters
    ----------
    name
        By which it is asked for.
    description
        What it answers.
    parameters
        What it takes, in the order in which they are shown.
    build
        Makes SQL of what was asked; the flag says whether the other end has Qserv's functions.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    build: Callable[[Asked, bool], str]

    def sql(self, database: Database, given: Mapping[str, object], *, functions: bool = True) -> str:
        """The query for tables that `database` describes.

        Parameters
        ----------
        given
            Values by the names of parameters; text is read by the parameter's kind. An empty text leaves a condition
            out where the parameter may be empty.
        functions
            Whether the other end has Qserv's functions; without them the same is said in plain SQL.

        Raises
        ------
        Wrong
            ``query_parameter``: unknown, missing, or not what it must be. ``unknown_table``.
        """
        return self.build(Asked(self.name, self.parameters, database, given), functions)


_TABLE = Parameter("table", TABLE, "The table.")
_LIMIT = Parameter("limit", WHOLE, "So many rows at most; all if empty.", default=("",), least=1)


def _galaxies(asked: Asked, functions: bool) -> str:
    flux, error = asked.column("flux"), asked.column("flux_err")
    columns = asked.columns("columns") or (*_place(asked), flux, error)
    wanted = [
        f"{quoted(asked.column('extendedness'))} >= {asked.number('least_extendedness')}",
        *(f"{quoted(name)} = 0" for name in map(asked.optional, _NOT_SET) if name),
        *(f"{quoted(name)} = 1" for name in (asked.optional("primary"),) if name),
        f"{quoted(flux)} > 0",
        f"{quoted(flux)} / {quoted(error)} > {asked.number('least_snr')}",
    ]
    return _select(asked, columns, wanted)


_NOT_SET = ("extendedness_flag", "shear_flag", "flux_flag")


def _cone(asked: Asked, functions: bool) -> str:
    table = asked.table
    if not (table.ra and table.dec):
        raise Wrong("query_parameter", f"cone: table {table.name} has no position", "name a table with ra and dec")
    ra, dec, radius = (asked.number(name) for name in ("ra", "dec", "radius"))
    columns = asked.columns("columns")
    if functions:
        return _select(asked, columns, [f"qserv_areaspec_circle({ra}, {dec}, {radius})"])
    return _select(asked, columns, _circle(table.ra, table.dec, float(ra), float(dec), float(radius)))


def _circle(ra_name: str, dec_name: str, ra: float, dec: float, radius: float) -> list[str]:
    """A box that an index can serve, and the great-circle distance (haversine) inside of it."""
    at_ra, at_dec = quoted(ra_name), quoted(dec_name)
    wanted = [f"{at_dec} BETWEEN {dec - radius!r} AND {dec + radius!r}"]
    if abs(dec) + radius < 90.0:
        # A little wider than the circle: the box must not lose what rounding puts on its rim.
        half = math.degrees(math.asin(math.sin(math.radians(radius)) / math.cos(math.radians(dec)))) + 1e-9
        low, high = ra - half, ra + half
        if low < 0.0 or high >= 360.0:
            wanted.append(f"({at_ra} >= {low % 360.0!r} OR {at_ra} <= {high % 360.0!r})")
        else:
            wanted.append(f"{at_ra} BETWEEN {low!r} AND {high!r}")
    up, along = (f"POW(SIN(RADIANS({name} - {value!r}) / 2), 2)" for name, value in ((at_dec, dec), (at_ra, ra)))
    half_chord = f"SQRT({up} + COS(RADIANS({dec!r})) * COS(RADIANS({at_dec})) * {along})"
    return [*wanted, f"2 * DEGREES(ASIN(LEAST(1, {half_chord}))) <= {radius!r}"]


def _light_curve(asked: Asked, functions: bool) -> str:
    table, time = asked.table, asked.column("time")
    key = asked.optional("key") or (table.follows[0].key if table.role is Role.CHILD else "")
    if not key:
        raise Wrong("query_parameter", f"light-curve: table {table.name} follows no director", "name a child, or a key")
    columns = asked.columns("columns")
    if columns and time not in columns:
        # Qserv orders by what it selects.
        columns = (time, *columns)
    return _select(asked, columns, [f"{quoted(key)} = {asked.identity('id', key)}"], order=time)


def _chunks(asked: Asked, functions: bool) -> str:
    table = asked.table
    if not table.partitioned:
        raise Wrong("query_parameter", f"chunks: table {table.name} is not cut into chunks", "name a partitioned table")
    chunk = quoted(CHUNK)
    counted = f"{chunk}, COUNT(*) AS `n` FROM {quoted(table.name)}"
    return f"SELECT {counted} GROUP BY {chunk} ORDER BY {chunk}"


def _place(asked: Asked) -> tuple[str, ...]:
    table = asked.table
    return tuple(name for name in (table.key, table.ra, table.dec) if name)


def _select(asked: Asked, columns: tuple[str, ...], wanted: list[str], order: str = "") -> str:
    what = ", ".join(map(quoted, columns)) or "*"
    sql = f"SELECT {what} FROM {quoted(asked.table.name)} WHERE {' AND '.join(wanted)}"  # noqa: S608 - all checked
    sql += f" ORDER BY {quoted(order)}" if order else ""
    return sql + (f" LIMIT {limit}" if (limit := asked.whole("limit")) else "")


_ALL = Parameter("columns", COLUMNS, "Columns of the answer, comma-separated; all if empty.", default=("",))

GALAXIES = Template(
    "galaxies",
    "Galaxies with a good shape and a significant flux: extended, primary, no flag set, signal to noise above a limit.",
    (
        _TABLE,
        Parameter("columns", COLUMNS, "Columns of the answer; key, position and flux if empty.", default=("",)),
        Parameter("extendedness", COLUMN, "0 of a point, 1 of what is extended.",
                  default=("base_ClassificationExtendedness_value", "extendedness")),
        Parameter("least_extendedness", NUMBER, "From where on it is a galaxy.", default=("0.5",)),
        Parameter("extendedness_flag", COLUMN, "Must be 0; empty: not asked.",
                  default=("base_ClassificationExtendedness_flag",), optional=True),
        Parameter("shear_flag", COLUMN, "Must be 0; empty: not asked.",
                  default=("ext_shapeHSM_HsmShapeRegauss_flag",), optional=True),
        Parameter("primary", COLUMN, "Must be 1: deblended, and in the inner part of its patch; empty: not asked.",
                  default=("detect_isPrimary",), optional=True),
        Parameter("flux", COLUMN, "Must be above 0.", unit="nJy, or counts of the calibrated image",
                  default=("modelfit_CModel_instFlux", "modelfit_CModel_flux")),
        Parameter("flux_err", COLUMN, "Its standard deviation.", unit="that of the flux",
                  default=("modelfit_CModel_instFluxErr", "modelfit_CModel_fluxErr", "modelfit_CModel_fluxSigma")),
        Parameter("flux_flag", COLUMN, "Must be 0; empty: not asked.",
                  default=("modelfit_CModel_flag",), optional=True),
        Parameter("least_snr", NUMBER, "Flux over its standard deviation is above this.", default=("10",)),
        _LIMIT,
    ),
    _galaxies,
)  # fmt: skip

CONE = Template(
    "cone",
    "Rows within a radius of a position, the rim included, by great-circle distance.",
    (
        _TABLE,
        Parameter("ra", NUMBER, "Right ascension of the centre, ICRS.", unit="deg", least=0.0, most=360.0),
        Parameter("dec", NUMBER, "Declination of the centre, ICRS.", unit="deg", least=-90.0, most=90.0),
        Parameter("radius", NUMBER, "Radius.", unit="deg", least=0.0, most=90.0),
        _ALL,
        _LIMIT,
    ),
    _cone,
)

LIGHT_CURVE = Template(
    "light-curve",
    "Rows of a child table that belong to one object of its director, in order of time.",
    (
        _TABLE,
        Parameter("id", ID, "The object's key."),
        Parameter("time", COLUMN, "The time of a row.", unit="that of the column; MJD TAI in Rubin's tables",
                  default=("midpointMjdTai", "expMidptMJD", "taiMidPoint", "midPointTai")),
        Parameter("key", COLUMN, "The column with the object's key; by which the table follows its director if empty.",
                  default=("",)),
        _ALL,
        _LIMIT,
    ),
    _light_curve,
)  # fmt: skip

CHUNKS = Template("chunks", "How many rows each chunk of a partitioned table has.", (_TABLE,), _chunks)

TEMPLATES: Mapping[str, Template] = {each.name: each for each in (GALAXIES, CONE, LIGHT_CURVE, CHUNKS)}


def template(name: str) -> Template:
    """A template by its name.

    Raises
    ------
    Wrong
        ``unknown_template``.
    """
    if name not in TEMPLATES:
        raise Wrong("unknown_template", f"there is no template {name}", f"there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
