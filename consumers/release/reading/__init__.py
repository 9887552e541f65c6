"""Catalogues as the science pipelines write them, read as Arrow record batches in bounded memory."""

from consumers.release.reading.catalogue import DESCRIPTION, LENGTH, UNIT, Catalogue, CsvForm, LeftOut
from consumers.release.reading.opening import open_catalogue

__all__ = ["DESCRIPTION", "LENGTH", "UNIT", "Catalogue", "CsvForm", "LeftOut", "open_catalogue"]
