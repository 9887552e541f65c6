"""Catalogues as the science pipelines write them, read as Arrow record batches in bounded memory."""

from consumers.release.reading.catalogue import ASCII, DESCRIPTION, LENGTH, UNIT, Catalogue, CsvForm, LeftOut
from consumers.release.reading.opening import csv_form, open_catalogue

__all__ = ["ASCII", "DESCRIPTION", "LENGTH", "UNIT", "Catalogue", "CsvForm", "LeftOut", "csv_form", "open_catalogue"]
