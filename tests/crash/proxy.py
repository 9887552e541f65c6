"""A proxy between a daemon and MariaDB that understands just enough to cut the wire around one COMMIT."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import Literal

from stream.local.ports import LOOPBACK

_COM_QUERY = 0x03

Cut = Literal["before", "after", "late", "silent"]
"""What happens to the COMMIT: the server never gets it; its answer is lost; it comes to the server seconds after the
client's end was cut; it is never answered, and nothing is cut."""


@dataclass(slots=True)
class Plan:
    """Cut at the first COMMIT of a transaction that has said `words`; `fired` is set once that is done."""

    words: str
    cut: Cut
    fired: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """Listens on a port of its own, in a thread of its own, and passes everything on but what a plan cuts."""

    def __init__(self, server_port: int, late_s: float = 2.0) -> None:
        self.port = 0
        self._server_port = server_port
        self._late_s = late_s
        self._plans: list[Plan] = []
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()
        self._up.wait(10)

    def plan(self, words: str, cut: Cut) -> Plan:
        """Cut the next COMMIT of a transaction in which `words` were said."""
        made = Plan(words, cut)
        self._plans.append(made)
        return made

    def close(self) -> None:
        """Cut everything and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port = server.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            writer.close()
            return
        line = _Line(reader, writer, far_reader, far_writer)
        back = asyncio.ensure_future(_pass_on(far_reader, line))
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._forward(line)
        finally:
            line.closed = True
            for each in (writer, far_writer):
                each.close()
            back.cancel()

    async def _forward(self, line: _Line) -> None:
        said: list[str] = []
        while True:
            head = await line.reader.readexactly(4)
            body = await line.reader.readexactly(int.from_bytes(head[:3], "little"))
            text = body[1:].decode(errors="replace") if body[:1] == bytes([_COM_QUERY]) and head[3] == 0 else ""
            plan = next((p for p in self._plans if text == "COMMIT" and any(p.words in s for s in said)), None)
            if plan is None:
                said = [] if text in ("COMMIT", "ROLLBACK") else [*said, *([text] if text else [])]
                line.far_writer.write(head + body)
                await line.far_writer.drain()
                continue
            self._plans.remove(plan)
            await self._cut(plan, line, head + body)
            return

    async def _cut(self, plan: Plan, line: _Line, commit: bytes) -> None:
        if plan.cut == "before":
            plan.fired.set()
            return
        line.muted = True
        if plan.cut == "late":
            line.writer.close()
            plan.fired.set()
            await asyncio.sleep(self._late_s)
        line.answered.clear()
        line.far_writer.write(commit)
        await line.far_writer.drain()
        await asyncio.wait_for(line.answered.wait(), 10)
        plan.fired.set()
        if plan.cut == "silent":
            await asyncio.sleep(3600)


@dataclass(slots=True)
class _Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    far_reader: asyncio.StreamReader
    far_writer: asyncio.StreamWriter
    muted: bool = False
    closed: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)


async def _pass_on(source: asyncio.StreamReader, line: _Line) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            line.answered.set()
            if not line.muted:
                line.writer.write(data)
                await line.writer.drain()
    if not line.muted and not line.closed:
        line.writer.close()
