"""Errors are classes, and the class is the policy.

::

    SkyburstError
    ├── Transient    retry with backoff and jitter: the broker, database or disk is away
    ├── Poison       this record goes to quarantine; the stream goes on
    ├── Fenced       somebody else moved on: drop the work, read the ledger again
    ├── Held         this partition waits for the world or an operator; the others go on
    ├── Fatal        the process stops: configuration, schema version, a broken invariant
    └── Wrong        the person who called asked for something that cannot be: wrong use of a command or function

Each error has a stable ``code``, used alike in logs, metrics, the quarantine record and the runbook.
"""

from __future__ import annotations

import re

_ANSWER = re.compile(r"(?:<\?xml|<Error>).*?<Code>([^<]*)</Code>(?:\s*<Message>([^<]*)</Message>)?", re.DOTALL)


class SkyburstError(Exception):
    """An error with a stable code, a message that says what and where, and advice that says what to do.

    Parameters
    ----------
    code
        Stable slug, lower case with underscores, e.g. ``truncated``; one section of the runbook each.
    message
        What is wrong and where.
    advice
        What the reader can do about it; empty where nothing is to be done.
    """

    def __init__(self, code: str, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message

    def __reduce__(self) -> tuple[type[SkyburstError], tuple[str, str, str]]:
        return type(self), (self.code, self.message, self.advice)


class Transient(SkyburstError):
    """The world is away for the moment: wait with backoff and jitter, then do the same again."""


class Poison(SkyburstError):
    """This record cannot be taken: it goes to quarantine whole, the stream goes on."""


class Fenced(SkyburstError):
    """The ledger, a segment or the database is not as this daemon left it: drop the work and read again."""


class Held(SkyburstError):
    """This partition waits for the world or an operator; the others go on."""


class Fatal(SkyburstError):
    """The process cannot go on, and starting it again unchanged will not help."""


class Wrong(SkyburstError):
    """Wrong use of a command or function: exit code 2."""


def one_line(error: Exception) -> str:
    """The first line of another's error; of an object store's answer in it, which is XML, its code and message.

    Examples
    --------
    >>> one_line(OSError("404: <Error><Code>NoSuchBucket</Code><RequestId>7</RequestId></Error>"))
    '404: NoSuchBucket'
    """
    text = str(error)
    if (answer := _ANSWER.search(text)) is not None:
        said = ": ".join(part for part in answer.groups() if part)
        text = " ".join(f"{text[: answer.start()]}{said}".split())
    return text.partition("\n")[0] or type(error).__name__
