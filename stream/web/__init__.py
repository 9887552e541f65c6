"""What a running process says over HTTP."""

from __future__ import annotations

from stream.web.health import Health
from stream.web.server import WebServer, serving

__all__ = ["Health", "WebServer", "serving"]
