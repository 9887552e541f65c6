"""Where real packets are: $SKYBURST_TEST_DATA, else ../shared/data beside the project."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
REAL_PACKETS = Path(os.environ.get("SKYBURST_TEST_DATA") or PROJECT.parent / "shared" / "data")
