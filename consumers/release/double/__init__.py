"""A double of Qserv's ingest service (API version 55), with which loaders can be tested.

It is a state machine on HTTP over 127.0.0.1, held to 159 recorded exchanges of a live service, and what is loaded
through it is in MyISAM tables of a real MariaDB, as on Qserv's workers::

    async with QservDouble.start(folder) as double:
        ...  # double.url, double.auth_key, double.admin_auth_key
        assert double.count("dp1", "Object", chunk=7480) == 1000
"""

from __future__ import annotations

from consumers.release.double.mariadb import Place
from consumers.release.double.service import QservDouble
from consumers.release.double.tables import Rows
from consumers.release.double.troubles import Troubles

__all__ = ["Place", "QservDouble", "Rows", "Troubles"]
