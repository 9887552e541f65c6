"""``python -m stream.cli`` is ``skyburst``."""

from __future__ import annotations

from stream.cli.group import main

main()
