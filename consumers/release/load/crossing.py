"""Named instants of a load, at which a test may stop the process."""

from __future__ import annotations

from collections.abc import Callable

Crossing = Callable[[str], None]

NAMES = (
    "before_begin",
    "after_begin",
    "before_send",
    "after_send",
    "after_took",
    "before_gate",
    "before_commit",
    "after_commit",
    "before_abort",
    "after_abort",
    "before_publish",
    "after_publish",
)


def nothing(name: str) -> None:
    """What is done at each of them outside tests."""
