"""Loopback ports that nobody uses and that no outgoing connection will be given meanwhile."""

from __future__ import annotations

import random
import socket

from stream.errors import Fatal

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral range: there, a client that calls a killed server again may be given the server's own port.
_FIRST, _LAST = 15000, 32700


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 on which nothing listens now.

    Raises
    ------
    Fatal
        ``no_free_port``: a thousand draws found too few.
    """
    found: set[int] = set()
    draw = random.SystemRandom()
    for _ in range(1000):
        port = draw.randint(_FIRST, _LAST)
        if port not in found and _is_free(port):
            found.add(port)
        if len(found) == count:
            return sorted(found)
    raise Fatal("no_free_port", f"found no {count} free ports of {LOOPBACK} between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
