"""Moments as people write them, as MJD TAI."""

from __future__ import annotations

import re

from stream.errors import Wrong

_AGE = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LAST_MJD = 2973483.0
"""The end of the year 9999."""


def mjd_tai(text: str, now: float) -> float:
    """The MJD TAI that `text` names.

    Parameters
    ----------
    text
        An MJD TAI (``61000.25``), a date or time in ISO 8601, UTC where it has no zone (``2026-01-31T04:00``), or an
        age (``2h``, ``30m``, ``1d``, ``45s``), which counts back from `now`.
    now
        Seconds since 1970-01-01 UTC.

    Raises
    ------
    Wrong
        ``moment``: it is none of these.
    """
    from datetime import UTC, datetime, timedelta

    text = text.strip()
    try:
        if re.fullmatch(r"\d+(\.\d*)?", text) and float(text) <= _LAST_MJD:
            return float(text)
        if age := re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smhd])", text):
            moment = datetime.fromtimestamp(now, UTC) - timedelta(seconds=float(age[1]) * _AGE[age[2]])
        else:
            moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        advice = "write an MJD TAI, ISO 8601 such as 2026-01-31T04:00, or an age such as 2h"
        raise Wrong("moment", f"{text!r} is not a time", advice) from None
    return _from_unix((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _from_unix(seconds: float) -> float:
    from astropy.time import Time

    from stream.survey.times import known_leap_seconds

    with known_leap_seconds():
        return float(Time(seconds, format="unix").tai.mjd)
