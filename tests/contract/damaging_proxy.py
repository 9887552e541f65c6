"""A TCP proxy that damages what comes back, once for each time it is asked to."""

from __future__ import annotations

import contextlib
import socket
import threading


class DamagingProxy:
    """Passes connections on to ``127.0.0.1:port``; flips a bit of `mark` in the next answer that has it."""

    def __init__(self, port: int, mark: bytes) -> None:
        self._port, self._mark = port, mark
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.damage_left = 0
        self.damaged = 0
        self._open: list[socket.socket] = [self._listening]
        self._passing: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        """Cut everything; afterwards no thread and no socket is left."""
        # Closing wakes no thread that waits in accept() or recv(), and it would go on with whoever calls next.
        _cut(self._listening)
        self._accepting.join()
        for each in self._open:
            _cut(each)
        for passing in self._passing:
            passing.join()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(client)
            try:
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                _cut(client)
                continue
            self._open.append(server)
            for way in ((client, server, False), (server, client, True)):
                self._passing.append(threading.Thread(target=self._pass, args=way))
                self._passing[-1].start()

    def _pass(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                at = data.find(self._mark) if answers and self.damage_left else -1
                if at >= 0:
                    self.damage_left -= 1
                    self.damaged += 1
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def _cut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
