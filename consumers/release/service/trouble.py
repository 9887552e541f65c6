"""What can go wrong between us and the ingest service.

::

    Transient
    ├── Unreachable   the request was not sent: it can be said again
    └── LostAnswer    it was sent, and no answer came: whether it had its effect is not known
    SkyburstError
    └── Refused       the service answered success:0, with its own words
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.errors import SkyburstError, Transient


class Unreachable(Transient):
    """Nobody listens there: the request had no effect."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__("qserv_unreachable", f"{where} cannot be reached: {why}", "check the address and the service")

    def __reduce__(self) -> tuple[type[Transient], tuple[str, str, str]]:
        return Transient, (self.code, self.message, self.advice)


class LostAnswer(Transient):
    """The connection broke, or the time was over, before an answer came: the request may have had its effect."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__("qserv_lost_answer", f"no answer to {what}: {why}", "run the same again: it asks first")

    def __reduce__(self) -> tuple[type[Transient], tuple[str, str, str]]:
        return Transient, (self.code, self.message, self.advice)


class Refused(SkyburstError):
    """The service said no.

    Parameters
    ----------
    what
        The request: method, service and path.
    words
        The service's own.
    more
        Its ``error_ext``.
    """

    def __init__(self, what: str, words: str, more: Mapping[str, Any]) -> None:
        super().__init__("qserv_refused", f"{what}: {words or 'refused without a word'}")
        self.what = what
        self.words = words
        self.more = more

    def __reduce__(self) -> tuple[type[SkyburstError], tuple[Any, ...]]:
        return Refused, (self.what, self.words, self.more)
