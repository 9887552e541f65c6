"""Times of packets to MJD TAI, and MJD TAI to nights. Days are held against `valid_mjd` before they come here."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stream.survey.vocabulary import NightRule, TimeRule

Floats = NDArray[np.float64]
DAY_S = 86_400.0
UNIX_EPOCH_MJD = 40_587.0


@contextmanager
def known_leap_seconds() -> Iterator[None]:
    """Convert with the leap seconds that the installed astropy knows, and say nothing of it.

    Once its table ends within half a year astropy asks two servers for a newer one, and waits for both. ERFA calls
    every day before 1960 and some years past its last leap second dubious; the last known one is what counts then.
    """
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=4096)
def _tai_minus_utc(day: int) -> float:
    """Seconds by which TAI leads UTC on a UTC day given as a whole MJD: constant over a day since 1972."""
    from astropy.time import Time

    with known_leap_seconds():
        tai = Time(float(day), 0.0, format="mjd", scale="utc").tai
        return round(float((tai.jd1 - 2_400_000.5 - day) + tai.jd2) * DAY_S, 3)


def _offsets(days: NDArray[np.int64]) -> Floats:
    low, high = int(days.min()), int(days.max())
    if low == high:
        return np.full(len(days), _tai_minus_utc(low) / DAY_S)
    return np.array([_tai_minus_utc(day) / DAY_S for day in days.tolist()])


def utc_to_tai(mjd: Floats) -> Floats:
    """MJD UTC to MJD TAI, days; all finite and after 1972."""
    return mjd + _offsets(np.floor(mjd).astype(np.int64)) if len(mjd) else mjd


def tai_to_utc(mjd: Floats) -> Floats:
    """MJD TAI to MJD UTC, days; all finite and after 1972. Within the minute around a leap second, off by up to 1 s."""
    if not len(mjd):
        return mjd
    return mjd - _offsets(np.floor(mjd - 37.0 / DAY_S).astype(np.int64))


def to_mjd(values: Floats, rule: TimeRule) -> Floats:
    """A field's count of time as an MJD on its own scale, exact where a double can be."""
    if rule.format == "jd":
        return values - 2_400_000.5
    return values / (DAY_S * 1e6) + UNIX_EPOCH_MJD if rule.format == "unix_us" else values


def nights(mjd_tai: Floats, rule: NightRule) -> NDArray[np.int64]:
    """The night of each time as YYYYMMDD; all finite."""
    mjd = tai_to_utc(mjd_tai) if rule.scale == "utc" else mjd_tai
    days = np.floor(mjd - rule.hours / 24.0).astype(np.int64)
    dates = (days - int(UNIX_EPOCH_MJD)).astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    month = months.astype(np.int64)
    day = (dates - months).astype(np.int64) + 1
    return np.asarray((1970 + month // 12) * 10_000 + (month % 12 + 1) * 100 + day, dtype=np.int64)
