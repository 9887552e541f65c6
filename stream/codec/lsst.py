"""Writer schemas of Rubin's LSST, from the package ``lsst-alert-packet`` (github.com/lsst/alert_packet)."""

from __future__ import annotations

from importlib import util
from pathlib import Path

from stream.codec.sources import FolderSchemas
from stream.errors import Fatal


class LsstPackageSchemas(FolderSchemas):
    """The schemas that the installed package carries: ids are major * 100 + minor, 1101 for version 11.1.

    The package is found without being imported, since that would load half of the LSST middleware.

    Raises
    ------
    Fatal
        ``schema_package``: it is not installed.
    """

    def __init__(self) -> None:
        try:
            found = util.find_spec("lsst.alert.packet")
        except ModuleNotFoundError:
            found = None
        if found is None or found.origin is None:
            raise Fatal("schema_package", "the package lsst-alert-packet is not installed", "install it with pip")
        super().__init__(Path(found.origin).parent / "schema")
