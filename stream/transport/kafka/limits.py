"""How much librdkafka may hold and how long it may wait: limits as values, not as keywords."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
LARGEST_MESSAGE = 10 * MIB
"""Bytes: what skyburst's topics take (``max.message.bytes``), above the packets of a few MiB that surveys send."""

LARGEST_REQUEST = 100 * MIB
"""Bytes: what a stock broker takes in one request (``socket.request.max.bytes``), so no batch of its log has more. An
answer with a larger one would never be read, nor would what lies behind it."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Of a source. Memory peaks near ``queued_kbytes + fetch_bytes``, and what the last poll returned.

    Attributes
    ----------
    queued_kbytes
        kB prefetched and not polled yet, all partitions together.
    fetch_bytes
        Bytes that one answer of a broker may have. A record larger than any limit still comes, alone.
    partition_bytes
        Bytes of one partition in such an answer.
    wait_ms
        Milliseconds that a broker waits for news before it answers with nothing.
    backoff_ms
        Milliseconds without fetching once the queue was full. librdkafka's own 1000 costs two thirds of the rate.
    """

    queued_kbytes: int = 65536
    fetch_bytes: int = 16 * MIB
    partition_bytes: int = 4 * MIB
    wait_ms: int = 100
    backoff_ms: int = 2

    def librdkafka(self) -> dict[str, int]:
        """The same in librdkafka's words."""
        return {
            "queued.max.messages.kbytes": self.queued_kbytes,
            "queued.min.messages": 1_000_000,
            "fetch.max.bytes": max(self.fetch_bytes, LARGEST_MESSAGE),
            "fetch.message.max.bytes": self.partition_bytes,
            "receive.message.max.bytes": max(self.fetch_bytes, LARGEST_MESSAGE) + LARGEST_REQUEST + MIB,
            "fetch.wait.max.ms": self.wait_ms,
            "fetch.queue.backoff.ms": self.backoff_ms,
        }


STOCK_FETCH = FetchLimits()


@dataclass(frozen=True, slots=True)
class SendLimits:
    """Of a publisher.

    Attributes
    ----------
    queued_kbytes
        kB sent and not acknowledged; `send` waits beyond it.
    linger_ms
        Milliseconds that a record may wait for company.
    batch_bytes
        Bytes that go to a partition in one request; a topic refuses batches beyond its ``max.message.bytes``, which is
        1,048,588 on a stock broker. A larger record goes alone.
    in_flight
        Requests to a broker at a time. With more than one, the idempotent producer spins while it waits: five cost
        230 µs of CPU for each record of 62 kB and half the rate, one 37 µs.
    deliver_within_ms
        Milliseconds after which a record that no broker acknowledged is given up and told of.
    compression
        Of the batches on the wire and in the log: none, lz4, zstd, snappy, gzip.
    """

    queued_kbytes: int = 65536
    linger_ms: int = 5
    batch_bytes: int = 1_000_000
    in_flight: int = 1
    deliver_within_ms: int = 120_000
    compression: str = "none"

    def librdkafka(self) -> dict[str, int | str]:
        """The same in librdkafka's words."""
        return {
            "queue.buffering.max.kbytes": self.queued_kbytes,
            "queue.buffering.max.messages": 1_000_000,
            "linger.ms": self.linger_ms,
            "batch.size": self.batch_bytes,
            "max.in.flight.requests.per.connection": self.in_flight,
            "message.max.bytes": LARGEST_MESSAGE,
            "delivery.timeout.ms": self.deliver_within_ms,
            "compression.type": self.compression,
        }


STOCK_SEND = SendLimits()
