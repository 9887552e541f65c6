"""What the daemon tells systemd: that it has started, that its loop turns, that it stops (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from stream.log import Log

READY, TURNS, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"

_log = Log("consumers.ingest.supervisor")


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A datagram socket of whoever started this process.

    Attributes
    ----------
    address
        Path of the socket, or its abstract name after ``@``; empty where nobody wants to be told.
    """

    address: str = ""

    @classmethod
    def of_environment(cls) -> Supervisor:
        """The one that ``NOTIFY_SOCKET`` names; systemd sets it for ``Type=notify``."""
        return cls(os.environ.get("NOTIFY_SOCKET", ""))

    def tell(self, state: str) -> None:
        """Send `state`; never waits, and what does not arrive is no error of the daemon's."""
        if not self.address:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.setblocking(False)
                end.sendto(state.encode(), name)
        except OSError as error:
            _log.warning("supervisor_deaf", error=error, state=state)
