"""Why a row goes nowhere, by number and as ``rejects.csv`` and the manifest say it."""

from __future__ import annotations

KEPT, FIELDS, MISSING, NOT_A_NUMBER, NAN, INFINITE, OFF_SKY, NO_KEY, BAD_KEY, UNKNOWN_KEY, TOO_FAR = range(11)
REASONS = (
    "", "fields", "position_missing", "position_not_a_number", "position_nan", "position_infinite", "position_off_sky",
    "key_missing", "key_not_an_integer", "key_unknown", "pair_too_far",
)  # fmt: skip
