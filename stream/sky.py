"""Placing alerts on the sky: Qserv's chunks, HEALPix cells, and cones and polygons as ranges of cells.

All positions are ICRS degrees in float64 arrays. The importing of astropy, which HEALPix needs, takes about a
second and happens at the first call that wants it, not with this module.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stream.errors import Wrong

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

HEALPIX_ORDER = 29
"""The HEALPix order of Level-1's column: cells of 0.4 milliarcseconds, nested, as HATS has them."""

_POLE_DEG = 90.0 - 1.0 / 3600.0
_FIRST_NO_CHUNK = 1_234_567_890
"""Qserv's dummy chunk; ids of chunks and sub-chunks are integers of 32 bits."""
_LOWEST_DEG = 1.0 / 3600.0
"""What Qserv takes for no extent at the poles: a sub-stripe is no lower."""
_CELL_DEG = 58.6
_CELL_REACH_DEG = 61.25
"""No point of a cell of order k lies farther from its centre than this divided by 2**k."""
_FINEST_SEARCH = 26
_ORDERS_A_STEP = 4
"""Measured: a look at some thousand cells takes no longer than one at a dozen."""


def reduce_ra(ra: ArrayLike) -> Floats:
    """Right ascension reduced to [0, 360) degrees; NaN and infinities become NaN.

    A tiny negative angle modulo 360 rounds to 360.0 itself; that becomes 0.0.
    """
    with np.errstate(invalid="ignore"):
        reduced = np.mod(np.asarray(ra, dtype=np.float64), 360.0)
    return np.where(reduced == 360.0, 0.0, reduced)


def off_sky(ra: ArrayLike, dec: ArrayLike) -> Mask:
    """Which positions are none: NaN or infinite in either coordinate, or a declination beyond 90 degrees."""
    declination = np.asarray(dec, dtype=np.float64)
    return ~(np.isfinite(np.asarray(ra, dtype=np.float64)) & (np.abs(declination) <= 90.0))


def _segments(low: float, high: float, width: float) -> int:
    """How many segments of at least `width` degrees a declination band takes (Qserv ``segments``)."""
    latitude = max(abs(low), abs(high))
    if latitude > _POLE_DEG or width >= 180.0:
        return 1
    radians = math.radians(latitude)
    x = math.cos(math.radians(width)) - math.sin(radians) ** 2
    u = math.cos(radians) ** 2
    y = math.sqrt(abs(u * u - x * x))
    return math.floor(360.0 / abs(math.degrees(math.atan2(y, x))))


class Grid(NamedTuple):
    """The sub-stripes of a layout, each cut into cells, its sub-chunks, of one width; for whoever needs neighbours.

    Parameters
    ----------
    height
        Of a sub-stripe, degrees.
    width
        ``float64[n]``: of the cells of each sub-stripe, degrees.
    chunks, sub_chunks
        ``int64[n]``: chunks of each sub-stripe, and cells of each of these.
    stripes, sub_stripes
        As the layout has them.
    """

    height: float
    width: Floats
    chunks: NDArray[np.int64]
    sub_chunks: NDArray[np.int64]
    stripes: int
    sub_stripes: int

    @property
    def cells_in(self) -> NDArray[np.int64]:
        """``int64[n]``: cells of each sub-stripe."""
        return self.chunks * self.sub_chunks

    def cells(self, longitude: Floats, latitude: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sub-stripe and cell of positions that are on the sky."""
        sub_stripe = np.minimum(np.floor((latitude + 90.0) / self.height).astype(np.int64), len(self.width) - 1)
        cell = np.floor(longitude / self.width[sub_stripe]).astype(np.int64)
        return sub_stripe, np.minimum(cell, self.cells_in[sub_stripe] - 1)

    def ids(
        self, sub_stripe: NDArray[np.int64], cell: NDArray[np.int64]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Chunk and sub-chunk of cells."""
        sub_chunks = self.sub_chunks[sub_stripe]
        stripe = sub_stripe // self.sub_stripes
        in_stripe = cell // sub_chunks
        chunk = stripe * (2 * self.stripes) + in_stripe
        most = int(self.sub_chunks.max())
        sub_chunk = (sub_stripe - stripe * self.sub_stripes) * most + (cell - in_stripe * sub_chunks)
        return chunk.astype(np.int32), sub_chunk.astype(np.int32)


@dataclass(frozen=True, slots=True)
class Layout:
    """How Qserv cuts the sky into chunks and sub-chunks: bit for bit as its own partitioner does.

    Parameters
    ----------
    stripes
        Declination stripes of equal height.
    sub_stripes
        Sub-stripes in each stripe.
    overlap
        Overlap of neighbouring sub-chunks, degrees. It names the layout; `locate` does not depend on it.

    Raises
    ------
    Wrong
        Code ``bad_layout``: a number that no layout can have.
    """

    stripes: int = 340
    sub_stripes: int = 3
    overlap: float = 0.01667
    _chunks: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    _sub_chunks: NDArray[np.int64] = field(init=False, repr=False, compare=False)
    _widths: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.stripes < 1 or self.sub_stripes < 1 or not 0.0 <= self.overlap <= 10.0:
            raise Wrong(
                "bad_layout",
                f"no Qserv layout has {self.stripes} stripes, {self.sub_stripes} sub-stripes, overlap {self.overlap}",
                "stripes and sub-stripes are at least 1, the overlap lies between 0 and 10 degrees",
            )
        height = 180.0 / self.stripes
        fine = 180.0 / (self.stripes * self.sub_stripes)
        if fine < _LOWEST_DEG or 2 * self.stripes**2 > _FIRST_NO_CHUNK:
            raise self._too_fine()
        chunks = [_segments(i * height - 90.0, (i + 1) * height - 90.0, height) for i in range(self.stripes)]
        sub_chunks = [
            _segments(i * fine - 90.0, (i + 1) * fine - 90.0, fine) // chunks[i // self.sub_stripes]
            for i in range(self.stripes * self.sub_stripes)
        ]
        if self.sub_stripes * max(sub_chunks) > np.iinfo(np.int32).max:
            raise self._too_fine()
        per_sub_stripe = np.repeat(np.array(chunks, dtype=np.int64), self.sub_stripes)
        object.__setattr__(self, "_chunks", per_sub_stripe)
        object.__setattr__(self, "_sub_chunks", np.array(sub_chunks, dtype=np.int64))
        object.__setattr__(self, "_widths", 360.0 / (self._sub_chunks * per_sub_stripe))

    def _too_fine(self) -> Wrong:
        return Wrong(
            "bad_layout",
            f"{self.stripes} stripes of {self.sub_stripes} sub-stripes are more than Qserv's ids can tell apart",
            "take at most 24,845 stripes, and sub-stripes that are at least an arcsecond high",
        )

    @property
    def grid(self) -> Grid:
        """Its sub-stripes and their cells."""
        fine = 180.0 / (self.stripes * self.sub_stripes)
        return Grid(fine, self._widths, self._chunks, self._sub_chunks, self.stripes, self.sub_stripes)

    @property
    def chunk_count(self) -> int:
        """How many chunks the whole sky has."""
        return int(self._chunks[:: self.sub_stripes].sum())

    @property
    def sub_chunk_count(self) -> int:
        """How many sub-chunks the whole sky has."""
        return int((self._chunks * self._sub_chunks).sum())

    def locate(self, ra: ArrayLike, dec: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Chunk and sub-chunk of each position.

        Parameters
        ----------
        ra, dec
            Degrees, `n` of each, on the sky (see `off_sky`), `ra` as `reduce_ra` gives it. Qserv's own partitioner
            leaves an RA of exactly 360 in the last chunk of its stripe, and so does this.

        Returns
        -------
        tuple
            ``int32[n]`` chunk ids and ``int32[n]`` sub-chunk ids.

        Raises
        ------
        Wrong
            Code ``bad_position``: a position off the sky, or an RA outside [0, 360] degrees.
        """
        longitude, latitude = np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)
        if np.any(off_sky(longitude, latitude) | ~((longitude >= 0.0) & (longitude <= 360.0))):
            raise Wrong("bad_position", "a position off the sky has no chunk", "use reduce_ra() and off_sky() first")
        return self.grid.ids(*self.grid.cells(longitude, latitude))


def healpix29(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """The nested HEALPix cell of order 29 of each position; degrees in, ``int64[n]`` out.

    The positions must be on the sky (see `off_sky`); astropy's own ValueError says so where they are not.
    """
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix import lonlat_to_healpix

    longitude, latitude = Longitude(reduce_ra(ra), u.deg), Latitude(np.asarray(dec, dtype=np.float64), u.deg)
    # One thread: starting more costs longer than a batch's cells take.
    cells = lonlat_to_healpix(longitude, latitude, HEALPIX_ORDER, num_threads=1)
    return np.asarray(cells, dtype=np.int64)


def distance(ra: float, dec: float, to_ra: Floats, to_dec: Floats) -> Floats:
    """Great-circle distance of positions from a centre, all in degrees; exact at all distances (Vincenty's formula)."""
    along, low, high = np.radians(to_ra - ra), np.radians(dec), np.radians(to_dec)
    east = np.cos(high) * np.sin(along)
    north = np.cos(low) * np.sin(high) - np.sin(low) * np.cos(high) * np.cos(along)
    inward = np.sin(low) * np.sin(high) + np.cos(low) * np.cos(high) * np.cos(along)
    return np.asarray(np.degrees(np.arctan2(np.hypot(east, north), inward)))


def _search_order(size: float) -> int:
    """The HEALPix order whose cells are about a quarter of `size` degrees."""
    return min(max(math.ceil(math.log2(4.0 * _CELL_DEG / max(size, 1e-9))), 2), _FINEST_SEARCH)


def cone_ranges(ra: float, dec: float, radius: float) -> NDArray[np.int64]:
    """Ranges of order-29 cells that cover a cone; what lies in them must still be held against the radius.

    Parameters
    ----------
    ra, dec, radius
        Degrees.

    Returns
    -------
    numpy.ndarray
        ``int64[m, 2]``: first cell and the one after the last, in order, merged; every point of the cone lies in one.

    Raises
    ------
    Wrong
        Code ``bad_cone``: a centre off the sky, or a radius that is not between 0 and 180 degrees.
    """
    if bool(off_sky(ra, dec)) or not 0.0 <= radius <= 180.0:
        raise Wrong("bad_cone", f"there is no cone {ra},{dec},{radius}", "give RA, Dec and a radius in degrees")
    from cdshealpix import healpix_to_lonlat

    # A hair more than asked, so that rounding at the rim cannot lose a point that lies on it.
    reach = min(radius + 1e-9, 180.0)
    finest = _search_order(reach)
    orders = range(finest % _ORDERS_A_STEP, finest + 1, _ORDERS_A_STEP)
    cells, found = np.arange(12 * 4 ** orders[0], dtype=np.int64), []
    for order in orders:
        longitude, latitude = healpix_to_lonlat(cells.astype(np.uint64), order, num_threads=1)
        apart = distance(ra, dec, longitude.deg, latitude.deg)
        rim = _CELL_REACH_DEG / 2**order
        near, whole = apart <= reach + rim, apart + rim <= reach
        taken = cells[near] if order == finest else cells[whole]
        found.append((taken[:, None] + np.array([0, 1])) << 2 * (HEALPIX_ORDER - order))
        finer = 4**_ORDERS_A_STEP
        cells = (cells[near & ~whole][:, None] * finer + np.arange(finer)).ravel()
    return _merged(np.concatenate(found))


def _merged(ranges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Half-open ranges that do not overlap, in order, and as one where they touch."""
    ranges = ranges[np.argsort(ranges[:, 0])]
    apart = np.flatnonzero(ranges[1:, 0] > ranges[:-1, 1]) + 1
    first, last = np.append(0, apart), np.append(apart, len(ranges)) - 1
    return np.stack([ranges[first, 0], ranges[last, 1]], axis=1)


def polygon_ranges(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.int64]:
    """Ranges of order-29 cells that cover a polygon whose sides are great circles.

    Parameters
    ----------
    ra, dec
        Degrees, the vertices in order, at least three; the polygon is the smaller of the two sides.

    Returns
    -------
    numpy.ndarray
        ``int64[m, 2]``, as `cone_ranges` gives them.

    Raises
    ------
    Wrong
        Code ``bad_polygon``: fewer than three vertices, or one off the sky.
    """
    longitudes, latitudes = reduce_ra(ra), np.asarray(dec, dtype=np.float64)
    if longitudes.size < 3 or longitudes.shape != latitudes.shape or np.any(off_sky(longitudes, latitudes)):
        raise Wrong(
            "bad_polygon", "a polygon has at least three vertices, all on the sky", "give RA,Dec pairs in degrees"
        )
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from mocpy import MOC

    # Its length, and not its width: of a thin one there would be hundreds of thousands of cells.
    extent = max(float(distance(longitudes[0], latitudes[0], longitudes, latitudes).max()), 1e-6)
    cover = MOC.from_polygon(
        Longitude(longitudes, u.deg), Latitude(latitudes, u.deg), max_depth=_search_order(extent / 4)
    )
    return np.asarray(cover.to_depth29_ranges, dtype=np.int64)
