"""Made-up visits, modelled on real packets: any number of them, of any size; the same seed gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from producers.sources.assembly import AT_ONCE, PacketMaker
from producers.sources.encoding import Values
from producers.sources.focal_plane import FocalPlane
from producers.sources.histories import OBJECT_IDS, PROCESSING_DAYS
from producers.sources.synthetic_model import SkyField, load_model
from stream.codec.sources import SchemaSource, open_schemas
from stream.errors import Wrong
from stream.survey import load_survey
from stream.visit import Outgoing, Visit, alert_headers

DAY_S = 86_400.0
SOURCE_BITS = 20
"""A source's id is its visit's, followed by so many bits of a count."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """One visit before its packets are made."""

    visit: int
    midpoint: float
    field: SkyField
    detector: NDArray[np.int64]


class SyntheticVisits:
    """Made-up visits.

    Parameters
    ----------
    model
        Name of a model that skyburst ships, or the path of a TOML file.
    schemas
        Where the model's writer schema comes from; None: the package that carries them.
    seed
        The same seed and arguments give the same bytes.
    visits
        How many visits.
    alerts
        Alerts a visit; None: as many as the sky has where the visit points.
    size
        Name of one of the model's sizes; None for its default.
    first_visit
        Number of the first visit, the others follow; None: the night's date and a count from 1.
    start_mjd
        Middle of the first visit, MJD TAI; None: the model's.

    Raises
    ------
    Wrong
        Codes ``unknown_model``, ``unknown_size``, ``bad_count``: arguments that cannot be.
    Fatal
        Code ``synthetic_model``: the model contradicts itself or the schema.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        schemas: SchemaSource | None = None,
        seed: int = 1,
        visits: int = 1,
        alerts: int | None = 10_000,
        size: str | None = None,
        first_visit: int | None = None,
        start_mjd: float | None = None,
    ) -> None:
        most = 1 << SOURCE_BITS
        if visits < 0 or seed < 0 or not (alerts is None or 0 <= alerts <= most):
            raise Wrong(
                "bad_count", f"no {visits} visits of {alerts} alerts with seed {seed}", f"0 to {most} alerts a visit"
            )
        self._model = load_model(model)
        self._survey = load_survey(self._model.survey)
        self._seed, self._visits, self._alerts = seed, visits, alerts
        self._start = self._model.telescope.start_mjd if start_mjd is None else start_mjd
        night = int(self._survey.night_of(self._start)[0])
        self._first = night * 100_000 + 1 if first_visit is None else first_visit
        if not 0 <= self._first < 2 ** (62 - SOURCE_BITS):
            raise Wrong("bad_count", f"there is no visit {self._first}", f"give 0 to {2 ** (62 - SOURCE_BITS) - 1}")
        self._plane = FocalPlane(self._model.telescope)
        busiest = max(field.alerts for field in self._model.fields) if alerts is None else alerts
        text = (schemas or open_schemas(None)).get(self._model.schema_id).text
        rng = np.random.default_rng([seed])
        self._packets = PacketMaker(self._model, self._model.size(size), text, max(visits, 1) * busiest, rng)

    def __len__(self) -> int:
        return self._visits

    def __iter__(self) -> Iterator[Visit]:
        return map(self._visit, range(self._visits))

    def _visit(self, index: int) -> Visit:
        rng = np.random.default_rng([self._seed, index + 1])
        plan = self._plan(index, rng)
        detectors = len(self._plane.centres)
        counted = np.bincount(plan.detector, minlength=detectors).tolist()
        telescope = self._model.telescope
        return Visit(
            visit=plan.visit,
            night=int(self._survey.night_of(plan.midpoint)[0]),
            detectors=tuple(range(detectors)),
            counts=dict(enumerate(counted)),
            end_of_readout=plan.midpoint + (telescope.exposure / 2 + telescope.readout) / DAY_S,
            alerts=self._outgoing(plan, rng),
        )

    def _plan(self, index: int, rng: Generator) -> _Plan:
        fields = self._model.fields
        weights = np.array([field.weight for field in fields])
        field = fields[int(rng.choice(len(fields), p=weights / weights.sum()))]
        n = field.alerts if self._alerts is None else self._alerts
        order = rng.permutation(len(self._plane.centres))
        # A detector's alerts come together, and detectors in the order in which they happen to be ready.
        detector = np.repeat(order, rng.multinomial(n, np.full(len(order), 1.0 / len(order))))
        midpoint = self._start + index * self._model.telescope.visit_every / DAY_S
        return _Plan(self._first + index, midpoint, field, detector)

    def _outgoing(self, plan: _Plan, rng: Generator) -> Iterator[Outgoing]:
        for at in range(0, len(plan.detector), AT_ONCE):
            detector = plan.detector[at : at + AT_ONCE]
            n = len(detector)
            moving = rng.random(n) < self._model.moving
            places = self._plane.scatter(plan.field, detector, rng)
            given: dict[str, Values] = {
                "source": (plan.visit << SOURCE_BITS) + at + np.arange(n),
                "object": rng.integers(*OBJECT_IDS, size=n),
                "visit": np.full(n, plan.visit),
                "detector": detector,
                "midpoint": np.full(n, plan.midpoint),
                "processed": plan.midpoint + PROCESSING_DAYS + rng.random(n) * 1e-4,
                "ra": places.ra,
                "dec": places.dec,
                "x": places.x,
                "y": places.y,
            }
            values = self._packets.make(given, moving, at, rng)
            for value, one, source in zip(values, detector.tolist(), given["source"].tolist()):
                yield Outgoing(None, value, alert_headers(plan.visit, one, source))
