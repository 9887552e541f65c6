"""A Confluent schema registry over real HTTP that can be empty, away, or without an id."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(slots=True)
class Registry:
    """What the registry knows; `up` False answers 503."""

    schemas: dict[int, str]
    up: bool = True
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> tuple[int, object]:
        """Status and body for a request."""
        self.asked.append(path)
        if not self.up:
            return 503, {"error_code": 50003}
        if path == "/subjects":
            return 200, ["alert-packet"] if self.schemas else []
        text = self.schemas.get(int(path.rpartition("/")[2]))
        return (404, {"error_code": 40403}) if text is None else (200, {"schema": text})


@contextmanager
def registry(schemas: dict[int, str]) -> Iterator[Registry]:
    """Serve on a free port of 127.0.0.1 until the block ends."""
    served = Registry(schemas)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = served.answer(self.path)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
