"""What must never be shown: passwords inside URLs and connection strings."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^\s:/@]*):[^\s]+@(?=[^\s@/]*)")
_QUERY = re.compile(
    r"(?P<head>[?&;,\s][\w.-]*(?:password|passwd|secret|token|passphrase)[\w.-]*=)[^&;,\s'\"]+", re.IGNORECASE
)


def redact(text: str) -> str:
    """`text` with the password of every URL, and every ``…password=`` in it, as ``***``.

    Examples
    --------
    >>> redact("mysql+aiomysql://ingest:hunter2@db:3306/level1")
    'mysql+aiomysql://ingest:***@db:3306/level1'
    """
    if "://" not in text and "=" not in text:
        return text
    return _QUERY.sub(r"\g<head>***", _USERINFO.sub(r"\g<head>:***@", text))
