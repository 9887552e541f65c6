"""felis' words for types and what MySQL calls them (felis' own ``mysql`` map)."""

from __future__ import annotations

SIZED = {"char": "CHAR", "string": "VARCHAR", "unicode": "NVARCHAR"}
"""Types of text that have a length."""
PLAIN = {
    "boolean": "BOOLEAN",
    "byte": "TINYINT",
    "short": "SMALLINT",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "text": "LONGTEXT",
    "binary": "LONGBLOB",
    "timestamp": "DATETIME",
}


def mysql_type(datatype: str, length: int | None = None, precision: int | None = None) -> str:
    """The MySQL type that felis maps a datatype to.

    Parameters
    ----------
    datatype
        felis' word.
    length
        Characters, of text alone.
    precision
        Digits after the second, of a timestamp alone.
    """
    if datatype in SIZED:
        return f"{SIZED[datatype]}({length})"
    if datatype == "timestamp" and precision:
        return f"DATETIME({precision})"
    return PLAIN[datatype]
