"""Where records go: sent at once, confirmed one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from stream.alert import Header
from stream.errors import SkyburstError

OnDelivery = Callable[[SkyburstError | None, int, int], None]
"""Called once for each record sent: the error or None, the partition, the offset (-1 where it is not known)."""


class Publisher(Protocol):
    """A writer of topics. One thread makes every call; deliveries are told inside `send`, `poll` and `flush`."""

    def send(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        headers: Sequence[Header] = (),
        timestamp_ms: int | None = None,
        partition: int | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Queue one record; waits where the queue (bounded by bytes) is full.

        Parameters
        ----------
        value
            None sends a tombstone.
        timestamp_ms
            Milliseconds since 1970-01-01 UTC, -1 for none; None is now, and so is 0, with which librdkafka means that.
        partition
            None leaves it to the key's hash, or to chance where there is no key.
        on_delivery
            Also told of a record that was refused at once (too large): `send` does not raise for it.

        Raises
        ------
        stream.errors.Fatal
            ``publisher_failed``: nothing more can be sent by this publisher.
        """
        ...

    def busy(self) -> bool:
        """Whether `send` would wait for records that are sent again: `poll` until it would not."""
        ...

    def poll(self, timeout_s: float = 0.0) -> None:
        """Hear of deliveries for up to `timeout_s`."""
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait until everything sent was told of, or the time is up; the number of records still queued."""
        ...

    def close(self) -> None:
        """Give up what is still queued: each record's delivery is told, with an error."""
        ...
