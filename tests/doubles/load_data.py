"""How ``LOAD DATA`` takes a file apart: fields ended by a delimiter, escaped by a backslash, in no quotes."""

from __future__ import annotations

_MEANT = {ord("0"): 0, ord("b"): 8, ord("n"): 10, ord("r"): 13, ord("t"): 9, ord("Z"): 26}


def fields_of(data: bytes, delimiter: str) -> list[list[bytes | None]]:
    """The fields of each line; None is NULL."""
    assert not data or data.endswith(b"\n"), "LOAD DATA loses an empty field at the end of a last line without newline"
    lines: list[list[bytes | None]] = []
    line: list[bytes | None] = []
    field, null, i = bytearray(), False, 0
    while i < len(data):
        byte = data[i]
        if byte == ord("\\"):
            i += 1
            null = data[i] == ord("N") and not field and data[i + 1 : i + 2] in (b"\n", delimiter.encode())
            field.append(_MEANT.get(data[i], data[i]))
        elif byte in (ord(delimiter), ord("\n")):
            line.append(None if null else bytes(field))
            field, null = bytearray(), False
            if byte == ord("\n"):
                lines.append(line)
                line = []
        else:
            field.append(byte)
        i += 1
    return lines
