"""A frontend of Qserv: what takes SQL and gives rows, by either of its two protocols."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa

from stream.errors import Fatal, Wrong
from stream.tls import FILES, tls_of

ROWS = 20_000
"""Rows of one record batch."""
_PORTS = {"mysql": 4040, "http": 4048, "https": 4048}
_ADVICE = "give mysql://USER:PASSWORD@HOST:4040/DATABASE or https://USER:PASSWORD@HOST:4048/DATABASE"


class Frontend(Protocol):
    """What answers SQL. Instances serve one thread at a time.

    Attributes
    ----------
    functions
        Whether the other end has Qserv's functions (``qserv_areaspec_circle``); a plain MariaDB has not.
    """

    functions: bool

    def stream(self, sql: str, *, rows: int = ROWS) -> AbstractContextManager[pa.RecordBatchReader]:
        """The answer to a query, a batch of at most `rows` rows at a time; NULL is null.

        The answer ends with the context, however it is left: what the other end keeps of it is given up then.

        Raises
        ------
        SkyburstError
            ``query_failed``, ``query_aborted``, ``query_too_large``: the other end says no, in its own words.
        Transient
            ``query_away``: it cannot be reached, or the connection broke.
        Fatal
            ``query_rights``, ``query_tls``, ``query_version``, ``query_answer``.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a frontend is.

    Parameters
    ----------
    scheme
        ``mysql``, ``http`` or ``https``.
    host, port
        Where it listens.
    user, password
        Of the MySQL protocol, or of HTTP's basic authentication; empty where there is none.
    database
        The database of names that say none; empty where there is none.
    options
        ``ssl_ca``, ``ssl_cert``, ``ssl_key``: PEM files.
    """

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> Address:
        """The address that a URL says, e.g. ``mysql://reader:…@qserv:4040/dp02``; Qserv's ports where it says none.

        Raises
        ------
        Wrong
            ``query_url``; never shows a password.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError:
            raise Wrong("query_url", "the frontend's URL is none", _ADVICE) from None
        scheme = parts.scheme.split("+")[0].replace("mariadb", "mysql")
        if scheme not in _PORTS or not parts.hostname:
            raise Wrong("query_url", f"no frontend of Qserv has a URL with {scheme or 'no scheme'!r}", _ADVICE)
        options = dict(parse_qsl(parts.query))
        if unknown := sorted(set(options) - FILES):
            text = f"the frontend's URL has an unknown option {unknown[0]}"
            raise Wrong("query_url", text, f"there are {', '.join(sorted(FILES))}")
        return cls(
            scheme,
            parts.hostname,
            port or _PORTS[scheme],
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            unquote(parts.path.strip("/")),
            options,
        )

    @property
    def shown(self) -> str:
        """Where it is, without secrets."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def tls(self) -> ssl.SSLContext | None:
        """What checks the server and shows our own certificate, as the options say; None where they say nothing.

        Raises
        ------
        Wrong
            ``query_url``: a file of the options cannot be used.
        """
        return tls_of(self.options, "query_url", "Qserv's frontend") if self.options else None


def untrusted(error: BaseException | None, where: str) -> Fatal | None:
    """The error that says what to do where a server's certificate is among the causes of `error`."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"{where}: the server's certificate is not trusted ({error.verify_message})"
            return Fatal("query_tls", text, "give the authority that signed it as ssl_ca in the URL")
        error = error.__cause__ or error.__context__ or getattr(error, "original_exception", None)
    return None
