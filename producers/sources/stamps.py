"""Image stamps as FITS files whose every pixel differs from packet to packet, made many at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

BLOCK = 2880
POOL = 48
"""Noise images kept; each stamp is one of them, scaled, so that no two packets share a run of pixel bytes."""

Bytes = NDArray[np.uint8]
Pixels = NDArray[np.float32] | NDArray[np.float64]
_CRVAL = ("CRVAL1", "CRVAL2")


@dataclass(frozen=True, slots=True)
class StampShape:
    """A stamp's images: `pixels` a side of the image and its uncertainty, `psf` a side of the PSF (0: none)."""

    pixels: int
    psf: int


@dataclass(frozen=True, slots=True)
class _Image:
    """One image of the stamp: where its data lie, and its pool, a row an image."""

    start: int
    end: int
    dtype: str
    pool: Pixels
    name: str

    def draw(self, n: int, rng: Generator) -> Bytes:
        """The bytes of `n` images, one a row: images of the pool, each scaled by its own factor."""
        picked = self.pool[rng.integers(len(self.pool), size=n)]
        low, high = (0.8, 1.25) if self.name else (0.5, 2.0)
        np.multiply(picked, rng.uniform(low, high, (n, 1)), out=picked, casting="same_kind")
        return picked.astype(np.float32).astype(self.dtype).view(np.uint8)


class Stamps:
    """Makes stamps of one shape.

    Parameters
    ----------
    shape
        Sides in pixels.
    rng
        Where the pool of noise images comes from.
    """

    def __init__(self, shape: StampShape, rng: Generator) -> None:
        self._images: list[_Image] = []
        whole = b""
        for name, side in (("", shape.pixels), ("UNCERT", shape.pixels), ("PSFIMAGE", shape.psf)):
            if side == 0:
                continue
            dtype = ">f8" if name == "PSFIMAGE" else ">f4"
            whole += _header(name, side, dtype)
            size = side * side * np.dtype(dtype).itemsize
            self._images.append(_Image(len(whole), len(whole) + size, dtype, _pool(name, side, rng), name))
            whole += bytes(-(-size // BLOCK) * BLOCK)
        self._template = np.frombuffer(whole, dtype=np.uint8)
        self._crval = [whole.index(key.encode()) + 10 for key in _CRVAL]

    @property
    def size(self) -> int:
        """Bytes of one stamp."""
        return len(self._template)

    def make(
        self, ra: NDArray[np.float64], dec: NDArray[np.float64], rng: Generator, psfs: dict[int, Bytes]
    ) -> list[bytes]:
        """One stamp for each position (degrees).

        PSFs come from `psfs`, by their size in bytes, and are put there where they are new: the stamps of one packet
        that are of the same size share theirs, as in real packets.
        """
        n = len(ra)
        stamps = np.tile(self._template, (n, 1))
        for image in self._images:
            size = image.end - image.start
            shared = image.name == "PSFIMAGE"
            pixels = psfs.get(size) if shared else None
            if pixels is None:
                pixels = image.draw(n, rng)
            if shared:
                psfs[size] = pixels
            stamps[:, image.start : image.end] = pixels
        for place, values in zip(self._crval, (ra, dec)):
            text = "".join(f"{value:20.12f}" for value in values.tolist())
            stamps[:, place : place + 20] = np.frombuffer(text.encode(), dtype=np.uint8).reshape(n, 20)
        return [stamp.tobytes() for stamp in stamps]


def _pool(name: str, side: int, rng: Generator) -> Pixels:
    if name == "PSFIMAGE":
        axis = np.arange(side) - side // 2
        radius2 = axis[:, None] ** 2 + axis[None, :] ** 2
        width2 = rng.uniform(3.0, 9.0, POOL)[:, None, None]
        images = (1.0 + radius2 / (3.0 * width2)) ** -3.0 * rng.normal(1.0, 0.05, (POOL, side, side))
        images /= images.sum(axis=(1, 2), keepdims=True)
        images[:, radius2 > (1.2 * side / 2) ** 2] = 0.0
        # Single precision in double, as in real stamps: three bytes of eight are zero. They compress to 0.52 to 0.58
        # and cost three times the work of noise.
        return np.asarray(images.reshape(POOL, side * side), dtype=np.float32).astype(np.float64)
    if name == "UNCERT":
        images = rng.normal(1600.0, 40.0, (POOL, side, side))
    else:
        images = rng.normal(0.0, 45.0, (POOL, side, side))
    return np.asarray(images.reshape(POOL, side * side), dtype=np.float32)


def _header(name: str, side: int, dtype: str) -> bytes:
    bits = -64 if dtype == ">f8" else -32
    first = (
        _card("XTENSION", "'IMAGE   '", "Image extension")
        if name
        else _card("SIMPLE", "T", "conforms to FITS standard")
    )
    cards = [
        first,
        _card("BITPIX", str(bits), "array data type"),
        _card("NAXIS", "2", "number of array dimensions"),
        _card("NAXIS1", str(side)),
        _card("NAXIS2", str(side)),
    ]
    if name:
        cards += [_card("PCOUNT", "0", "number of parameters"), _card("GCOUNT", "1", "number of groups")]
        cards.append(_card("EXTNAME", f"'{name:<8}'", "extension name"))
    else:
        cards += _world(side)
    return ("".join(cards) + "END".ljust(80)).ljust(BLOCK).encode("ascii")


def _world(side: int) -> list[str]:
    """A tangent plane of 0.2 arcsec pixels about the position, which `make` writes in."""
    scale, middle = f"{0.2 / 3600.0:.13E}", f"{(side + 1) / 2:.1f}"
    return [
        _card("EXTEND", "T"),
        _card("BUNIT", "'nJy     '"),
        _card("WCSAXES", "2", "Number of coordinate axes"),
        _card("CTYPE1", "'RA---TAN'", "Right ascension, gnomonic projection"),
        _card("CTYPE2", "'DEC--TAN'", "Declination, gnomonic projection"),
        _card("CUNIT1", "'deg     '", "Units of coordinate increment and value"),
        _card("CUNIT2", "'deg     '", "Units of coordinate increment and value"),
        _card("CRPIX1", middle, "Pixel coordinate of reference point"),
        _card("CRPIX2", middle, "Pixel coordinate of reference point"),
        _card("CDELT1", f"-{scale}", "[deg] Coordinate increment at reference point"),
        _card("CDELT2", scale, "[deg] Coordinate increment at reference point"),
        _card("CRVAL1", "0.0", "[deg] Coordinate value at reference point"),
        _card("CRVAL2", "0.0", "[deg] Coordinate value at reference point"),
        _card("RADESYS", "'ICRS    '", "Equatorial coordinate system"),
    ]


def _card(key: str, value: str, comment: str = "") -> str:
    text = f"{key:<8}= {value:<20}" if value.startswith("'") else f"{key:<8}= {value:>20}"
    return (f"{text} / {comment}" if comment else text).ljust(80)
