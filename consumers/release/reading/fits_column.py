"""One field of a FITS binary table: its cells in the raw rows, as Arrow arrays (FITS standard 4.0, section 7.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from consumers.release.reading.catalogue import field

Header = Any
"""`astropy.io.fits.Header`, which has no types."""
_FORM = re.compile(r"\s*(\d*)([LXBIJKAEDCMPQ])(.*)")
_DIMENSION = re.compile(r"\s*\(\s*(\d+)\s*,")
_CODES = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "C": ">c8", "M": ">c16"}
_BITS = {"L": 8, "A": 8, "P": 64, "Q": 128} | {code: 8 * np.dtype(kind).itemsize for code, kind in _CODES.items()}
_SHIFTED = {("B", -128.0): "i1", ("I", 2.0**15): "u2", ("J", 2.0**31): "u4", ("K", 2.0**63): "u8"}
"""TZERO by which FITS says that integers have another sign than its own."""


@dataclass(frozen=True, slots=True)
class FitsColumn:
    """A field of the table as its header says it.

    Parameters
    ----------
    name, unit, doc, role
        TTYPE, TUNIT, TDOC and TCCLS (the last two are afw's).
    code, repeat, rest
        What TFORM says: the type's letter, elements, and what follows; of text in an array (TDIM) the width of one.
    offset, width
        Bytes in the row.
    null, scale, zero
        TNULL, TSCAL and TZERO.
    """

    name: str
    unit: str
    doc: str
    role: str
    code: str
    repeat: int
    rest: str
    offset: int
    width: int
    null: int | None
    scale: float
    zero: float

    @property
    def text_width(self) -> int:
        """Characters of one text: TFORM ``60A12`` says five of twelve."""
        each = re.match(r"\d+", self.rest)
        return int(each[0]) if each and 0 < int(each[0]) <= self.repeat else self.repeat

    @property
    def count(self) -> int:
        """How many values a row has."""
        return self.repeat // self.text_width if self.code == "A" and self.repeat else self.repeat

    @property
    def why_not(self) -> str:
        """Why a table in a database cannot have it; empty where it can."""
        if self.code in "PQ":
            return "an array of variable length"
        if self.code in "CM":
            return "complex numbers"
        return "" if self.count else "it has no elements"

    @property
    def names(self) -> list[str]:
        """Names of its values: its own, or with ``_0``, ``_1``, … after it."""
        return [self.name] if self.count == 1 else [f"{self.name}_{number}" for number in range(self.count)]

    def field(self, name: str) -> pa.Field:
        """The field of one of its values."""
        length = self.text_width if self.code == "A" else 0
        return field(name, self._type(), null=self._nullable, unit=self.unit, doc=self.doc, length=length)

    def cells(self, raw: NDArray[np.uint8]) -> NDArray[Any]:
        """Its values as FITS has them, unscaled, in native order; bits stay packed.

        Parameters
        ----------
        raw
            Rows of bytes, (n, bytes of a row).

        Returns
        -------
        numpy.ndarray
            (n, count); of bits (n, width), byte by byte in memory.
        """
        bytes_ = np.ascontiguousarray(raw[:, self.offset : self.offset + self.width])
        if self.code == "X":
            return np.asfortranarray(bytes_)
        if self.code == "L":
            return bytes_
        if self.code == "A":
            return bytes_[:, : self.count * self.text_width].view(f"S{self.text_width}").reshape(len(raw), self.count)
        kind = np.dtype(_CODES[self.code])
        return bytes_.view(kind).reshape(len(raw), self.count).astype(kind.newbyteorder("="), copy=False)

    def array(self, cells: NDArray[Any], element: int) -> pa.Array:
        """One of its values out of `cells`, as Arrow has it; masked ones are null."""
        if self.code == "X":
            # The first flag is the highest bit of the first byte; Arrow's is the lowest.
            lowest = np.packbits(cells[:, element // 8] & (0x80 >> element % 8), bitorder="little")
            return pa.Array.from_buffers(pa.bool_(), len(cells), [None, pa.py_buffer(lowest)])
        return self._array(cells[:, element])

    def _array(self, cells: NDArray[Any]) -> pa.Array:
        if self.code == "A":
            return _texts(cells)
        if self.code == "L":
            return pa.array(cells == ord("T"), mask=cells == 0)
        kind = self._shifted()
        mask = None if self.null is None else cells == self.null
        if kind is not None:
            # The shift turns the sign's bit over.
            sign = 1 << (8 * kind.itemsize - 1) if kind.kind == "u" else -128
            return pa.array(cells.view(kind) ^ kind.type(sign), mask=mask)
        if self._scaled:
            return pa.array(cells.astype(np.float64) * self.scale + self.zero, mask=mask)
        return pa.array(np.ascontiguousarray(cells), mask=mask)

    @property
    def _scaled(self) -> bool:
        return self.code in _CODES and (self.scale, self.zero) != (1.0, 0.0)

    @property
    def _nullable(self) -> bool:
        return self.null is not None or self.code in "LED" or (self._scaled and self._shifted() is None)

    def _shifted(self) -> np.dtype[Any] | None:
        kind = _SHIFTED.get((self.code, self.zero)) if self.scale == 1 else None
        return np.dtype(kind) if kind else None

    def _type(self) -> pa.DataType:
        if self.code == "A":
            return pa.string()
        if self.code in "LX":
            return pa.bool_()
        kind = self._shifted()
        if kind is None and self._scaled:
            kind = np.dtype("f8")
        return pa.from_numpy_dtype(kind or np.dtype(_CODES[self.code]).newbyteorder("="))


def columns(header: Header) -> list[FitsColumn]:
    """The fields of a table in their order.

    Raises
    ------
    ValueError
        A TFORM is missing or not one of FITS, or the fields do not fill the row.
    """
    found, offset = [], 0
    for number in range(1, header["TFIELDS"] + 1):

        def told(word: str, default: Any, number: int = number) -> Any:
            return header.get(f"{word}{number}", default)

        form = _FORM.fullmatch(str(told("TFORM", "")))
        if form is None:
            raise ValueError(f"TFORM{number} is {told('TFORM', 'missing')!r}")
        repeat, code = int(form[1] or 1), form[2]
        width = (repeat + 7) // 8 if code == "X" else repeat * _BITS[code] // 8
        found.append(
            FitsColumn(
                name=str(told("TTYPE", f"col{number}")).strip(),
                unit=str(told("TUNIT", "")).strip(),
                doc=str(told("TDOC", "")).strip(),
                role=str(told("TCCLS", "")).strip(),
                code=code,
                repeat=repeat,
                rest=form[3].strip() or (_text_of(str(told("TDIM", ""))) if code == "A" else ""),
                offset=offset,
                width=width,
                null=told("TNULL", None) if code in "BIJK" else None,
                scale=float(told("TSCAL", 1.0)),
                zero=float(told("TZERO", 0.0)),
            )
        )
        offset += width
    if offset != header["NAXIS1"]:
        raise ValueError(f"its fields have {offset} bytes, its rows {header['NAXIS1']}")
    return found


def _text_of(dimensions: str) -> str:
    """The width of one text where TDIM says that a field has several, ``(12,5)``; else nothing."""
    several = _DIMENSION.match(dimensions)
    return several[1] if several else ""


def _texts(cells: NDArray[Any]) -> pa.Array:
    """Text of fixed width: it ends at the first NUL, and blanks at its end do not count."""
    words = cells.tolist()  # without the NULs at their ends
    if any(b"\0" in word for word in words):
        words = [word.partition(b"\0")[0] for word in words]
    try:
        texts = pa.array(words, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        texts = pa.array([_decoded(word) for word in words], pa.string())
    return pc.utf8_rtrim(texts, characters=" ")


def _decoded(word: bytes) -> str:
    """A text that may be in Latin-1, whatever those around it are in."""
    try:
        return word.decode()
    except UnicodeDecodeError:
        return word.decode("latin-1")
