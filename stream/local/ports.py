"""Loopback ports that nobody uses and that no outgoing connection will be given meanwhile."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable
from pathlib import Path

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


def need_free(ports: Iterable[int], code: str, folder: Path) -> None:
    """Refuse to start a server whose ports, settled when `folder` was made, somebody else listens on now.

    Raises
    ------
    Fatal
        `code`, with the first port that is taken.
    """
    for port in ports:
        # Else connections of a server that was killed just now would count for a minute.
        if not _is_free(port, socket.SO_REUSEADDR):
            advice = "end what listens there; or remove the folder, with its data, and begin anew on other ports"
            raise Fatal(code, f"port {port} of {LOOPBACK}, which {folder} has from its first start, is taken", advice)


def _is_free(port: int, *options: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        for option in options:
            probe.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
