"""The trigger table: rows in (`stream.level1.rows`, `write`), and what do we know here (`Level1`)?"""

from __future__ import annotations

from stream.level1.columns import to_astropy
from stream.level1.read import Level1

__all__ = ["Level1", "to_astropy"]
