"""Sends packets beside the daemons, and remembers what the broker acknowledged: partition, offset, SHA of the value."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import KafkaError, Message, Producer
from crash.packets import LARGE_BYTES, Packet

Place = tuple[int, int]
"""Partition and offset."""


class Sender:
    """An idempotent producer in a thread of its own.

    Attributes
    ----------
    acknowledged
        SHA-256 of each value (None: a tombstone) by its place in the log.
    large
        How many of them have at least `LARGE_BYTES`.
    """

    def __init__(self, bootstrap: str, topic: str, draw: Callable[[], Packet]) -> None:
        self.acknowledged: dict[Place, bytes | None] = {}
        self.large = 0
        self.failed: list[str] = []
        self._topic = topic
        self._draw = draw
        self._rate = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender")
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 5,
                "max.in.flight.requests.per.connection": 1,
                "message.max.bytes": 10_000_000,
                "delivery.timeout.ms": 120_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )

    def send(self, packet: Packet, partition: int = -1) -> None:
        """Send one packet now."""
        told = partial(self._told, packet.value)
        self._producer.produce(
            self._topic, packet.value, packet.key, partition, on_delivery=told, headers=list(packet.headers) or None
        )

    def batch(self, packets: list[Packet], partition: int = -1) -> None:
        """Send packets and return once all of them are acknowledged."""
        for packet in packets:
            self.send(packet, partition)
        self.flush()

    def begin(self, rate: float) -> None:
        """Send `rate` packets a second from now on, one second's worth at once now and then."""
        self._rate = rate
        self._thread.start()

    def end(self, at_least: int = 0) -> None:
        """Send on until so many are acknowledged, and end."""
        while len(self.acknowledged) + len(self._producer) < at_least:
            self.send(self._draw())
            self._producer.poll(0 if len(self._producer) < 2000 else 0.05)
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Wait for every answer."""
        if self._producer.flush(120.0) or self.failed:
            raise RuntimeError(f"the broker did not take everything: {self.failed[:3]}")

    def close(self) -> None:
        """End the thread, whatever is under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._producer.purge()
        self._producer.close()

    def _run(self) -> None:
        begun, sent = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - begun) * self._rate) - sent
            for _ in range(max(0, due)):
                self.send(self._draw())
            sent += max(0, due)
            self._producer.poll(0.02)

    def _told(self, value: bytes | None, error: KafkaError | None, message: Message) -> None:
        number, offset = message.partition(), message.offset()
        if error is not None or number is None or offset is None:
            self.failed.append(str(error))
            return
        self.acknowledged[number, offset] = None if value is None else hashlib.sha256(value).digest()
        self.large += value is not None and len(value) >= LARGE_BYTES
