"""``make docs``: every page of the reference that is made from the code."""

from __future__ import annotations

from pathlib import Path

from stream.cli.reference import write

write(Path(__file__).parent / "reference")
