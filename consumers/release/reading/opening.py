"""Which reader a file needs."""

from __future__ import annotations

from pathlib import Path

from consumers.release.reading.catalogue import Catalogue, CsvForm, damaged
from stream.errors import Wrong

FORMS = ("fits", "parquet", "csv")
_BY_NAME = {".csv": ",", ".tsv": "\t", ".txt": ","}
_NO_CSV = (".parquet", ".parq", ".pq", ".fits", ".fit", ".fts")
_PACKED = {"bzip2": b"BZh", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd", "zip": b"PK\x03\x04"}


def open_catalogue(
    path: Path, form: str | None = None, csv: CsvForm | None = None, hdu: int | None = None
) -> Catalogue:
    """Open a catalogue; its file is looked into, no row is read.

    Parameters
    ----------
    path
        A FITS table, an afw table in FITS, a Parquet or a CSV file.
    form
        ``fits``, ``parquet`` or ``csv``; found out by the first bytes, and by the name for CSV, where None.
    csv
        How a CSV file is written; by its name (``.tsv`` has tabs) and with a header line where None.
    hdu
        The HDU of a FITS file that holds the table, from 0; the first table that is no archive where None.

    Raises
    ------
    Wrong
        ``no_file``: there is no such file. ``bad_catalogue``: it is none of these, damaged, or has no table.
    """
    must_be_file(path)
    try:
        with path.open("rb") as file:
            begin = file.read(10)
    except OSError as error:
        raise Wrong("no_file", f"{path} cannot be read: {error.strerror}", "check the path") from error
    form = form or _form(path, begin)
    if form == "fits":
        from consumers.release.reading.fits_file import FitsCatalogue

        return FitsCatalogue(path, hdu)
    if form == "parquet":
        from consumers.release.reading.parquet_file import ParquetCatalogue

        return ParquetCatalogue(path)
    if form == "csv":
        from consumers.release.reading.csv_file import CsvCatalogue

        return CsvCatalogue(path, csv or csv_form(path))
    raise Wrong("bad_catalogue", f"{form} is no form of catalogues", f"say one of {', '.join(FORMS)}")


def must_be_file(path: Path) -> None:
    """Refuse a pipe or device: it can be read once, and opening it may wait for ever.

    Raises
    ------
    Wrong
        Code ``no_file``.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise Wrong("no_file", f"{path} is a pipe or device", "write it into a file first")


def must_be_csv(path: Path, begin: bytes) -> None:
    """Refuse a file that begins neither as FITS nor as Parquet, and is no CSV either.

    Raises
    ------
    Wrong
        Code ``bad_catalogue``: it is compressed otherwise than by gzip, or named as one of the others.
    """
    packed = [name for name, magic in _PACKED.items() if begin.startswith(magic)]
    if packed:
        raise damaged(path, f"it is compressed by {packed[0]}", "expand it")
    if path.suffix.lower() in _NO_CSV:
        what = "does not begin as such a file" if begin else "the file is empty"
        raise damaged(path, f"it is named {path.suffix}, and {what}")


def csv_form(path: Path) -> CsvForm:
    """How a CSV file is written as far as its name says it."""
    return CsvForm(delimiter=_BY_NAME.get(_ending(path), ","))


def _form(path: Path, begin: bytes) -> str:
    if begin.startswith(b"SIMPLE"):
        return "fits"
    if begin.startswith(b"PAR1"):
        return "parquet"
    if _ending(path) in _BY_NAME:
        return "csv"
    if not begin:
        raise damaged(path, "the file is empty")
    advice = "give a FITS table, a Parquet file, or a CSV file that is named .csv, .tsv or .txt"
    if begin.startswith(b"\x1f\x8b"):
        advice = "it is compressed: gunzip it"
    raise damaged(path, "this is no catalogue that can be read", advice)


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix
