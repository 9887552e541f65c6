"""The command ``skyburst``: options that all verbs share, output, exit codes; finds its verbs by entry points.

Kept light on purpose: ``skyburst --help`` imports no room. A verb's module is imported when the verb is called.
"""

from __future__ import annotations

from stream.cli.group import main
from stream.cli.lazy import LazyCommand

__all__ = ["LazyCommand", "main"]
