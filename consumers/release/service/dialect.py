"""How the fields of a file are written, in the words that the ingest service takes.

The service takes the two-character escapes ``\\t``, ``\\n``, ``\\\\``, ``\\0``, or ``,``, ``'`` and ``"``; a real TAB
is refused, and so is ``|`` (Qserv API v55, 1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from stream.errors import Wrong

_SPELT = {"\t": r"\t", "\n": r"\n", "\\": r"\\", "\0": r"\0", ",": ",", "'": "'", '"': '"'}
_USUAL = {
    "fields_terminated_by": r"\t",
    "fields_enclosed_by": r"\0",
    "fields_escaped_by": r"\\",
    "lines_terminated_by": r"\n",
}
"""What the service takes where a request does not say it."""


@dataclass(frozen=True, slots=True)
class LoadDialect:
    """Characters as they stand in the file.

    Parameters
    ----------
    delimiter, enclosing, escape, line_end
        One character each; `enclosing` is NUL where nothing is enclosed.
    """

    delimiter: str = "\t"
    enclosing: str = "\0"
    escape: str = "\\"
    line_end: str = "\n"

    def fields(self) -> Mapping[str, str]:
        """The request's fields: those that are not what the service takes by itself.

        Raises
        ------
        Wrong
            ``release_dialect``: the service does not take this character.
        """
        return _fields(self)


@cache
def _fields(dialect: LoadDialect) -> Mapping[str, str]:
    ours = dict(zip(_USUAL, (dialect.delimiter, dialect.enclosing, dialect.escape, dialect.line_end)))
    for name, character in ours.items():
        if character not in _SPELT:
            raise Wrong(
                "release_dialect",
                f"Qserv does not take {character!r} for {name}",
                "partition with TAB or comma between fields",
            )
    spelt = {name: _SPELT[character] for name, character in ours.items()}
    return {name: value for name, value in spelt.items() if value != _USUAL[name]}
