"""Two daemons on one topic: what the named cases have in common."""

from __future__ import annotations

from dataclasses import dataclass

from crash.count import Count
from crash.daemons import Daemon, Daemons
from crash.packets import Packets
from crash.sender import Sender
from crash.servers import Field, ends_of

from stream.local.process import wait_until

PATIENT_GROUP = {"session_timeout_ms": "20000", "heartbeat_s": "0.3", "abandoned_s": "0.9", "sweep_after_s": "0.9"}
"""A frozen daemon keeps its partitions for twenty seconds, but its segments for one."""

HASTY_GROUP = {"session_timeout_ms": "1000"}
"""The shortest session that the broker takes."""


@dataclass(frozen=True, slots=True)
class Story:
    """A field, its daemons, and packets to send."""

    field: Field
    daemons: Daemons
    sender: Sender
    packets: Packets

    def send(self, count: int, *, wait: bool = False) -> None:
        """Send so many sound packets; wait until they are committed where asked to."""
        self.sender.batch([self.packets.sound() for _ in range(count)])
        if wait:
            self.caught_up()

    def caught_up(self, within_s: float = 40.0) -> None:
        """Wait until all that was sent is committed."""
        self.field.wait_reached(ends_of(self.sender.acknowledged), within_s)

    def wait_rows(self, query: str, within_s: float = 30.0) -> None:
        """Wait until a query has rows."""
        assert wait_until(lambda: bool(self.field.rows(query)), within_s, every_s=0.05), f"no rows: {query}"

    def commits_of(self, daemon: Daemon) -> int:
        """How many commits of a daemon stand."""
        return int(self.field.rows(f"SELECT COUNT(*) AS n FROM commits WHERE daemon = '{daemon.id}'")[0]["n"])

    def drained(self) -> Count:
        """Drain all daemons that run, which must end well, and count."""
        for daemon in self.daemons.all:
            if daemon.alive:
                assert daemon.drain() == 0, daemon.last()
        return self.count()

    def count(self) -> Count:
        """Count what is there now."""
        return self.field.count(self.sender.acknowledged)
