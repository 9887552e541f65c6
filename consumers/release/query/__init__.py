"""Asking Qserv: SQL over its MySQL protocol or its HTTP frontend, and standard queries; answers as tables."""

from __future__ import annotations

from consumers.release.query.frontend import Address, Frontend
from consumers.release.query.http import HttpFrontend, Status
from consumers.release.query.mysql import MysqlFrontend
from consumers.release.query.session import Qserv, open_frontend
from consumers.release.query.tables import to_astropy, to_pandas, with_units
from consumers.release.query.templates import TEMPLATES, Template, template

__all__ = [
    "TEMPLATES",
    "Address",
    "Frontend",
    "HttpFrontend",
    "MysqlFrontend",
    "Qserv",
    "Status",
    "Template",
    "open_frontend",
    "template",
    "to_astropy",
    "to_pandas",
    "with_units",
]
