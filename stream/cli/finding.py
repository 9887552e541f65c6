"""What one check of `skyburst check` is, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fails", "unasked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check, and what to do where it is not well."""

    verdict: Verdict
    text: str
    advice: str = ""


Check = Callable[[], Finding]
