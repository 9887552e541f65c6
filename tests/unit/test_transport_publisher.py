"""Records that a broker refused with their batch are sent again, each alone, as long as anybody acknowledges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from stream.errors import SkyburstError
from stream.transport.kafka import publisher as rules
from stream.transport.kafka.publisher import KafkaPublisher

Answer = Callable[[list[bytes]], int | None]
"""The error of a batch of values, or None."""


class Message:
    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7


class Producer:
    """Answers all that is queued at each poll, as one batch."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.batches = answer, list[list[bytes]]()
        self._queued: list[tuple[bytes, Any]] = []

    def produce(self, topic: str, value: bytes, key: object, partition: int, *, on_delivery: Any, **_: Any) -> None:
        self._queued.append((value, on_delivery))

    def poll(self, timeout: float) -> int:
        queued, self._queued = self._queued, []
        if queued:
            self.batches.append([value for value, _ in queued])
            code = self.answer(self.batches[-1])
            for _, told in queued:
                told(None if code is None else KafkaError(code), Message())
        return len(queued)

    def flush(self, timeout: float) -> int:
        self.poll(timeout)
        return len(self._queued)

    def purge(self) -> None:
        """Nothing is under way here."""

    def close(self) -> None:
        """Nothing to close."""

    def __len__(self) -> int:
        return len(self._queued)


def sent(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> tuple[Producer, dict[bytes, str]]:
    """What became of a, bad and c, sent together, and then of last: each one's code, or ``ok``."""
    producer = Producer(answer)
    monkeypatch.setattr(rules, "Producer", lambda *_, **__: producer)
    publisher, found = KafkaPublisher("nowhere:1"), dict[bytes, str]()

    def send(value: bytes) -> None:
        def told(error: SkyburstError | None, partition: int, offset: int) -> None:
            assert value not in found, "told once"
            found[value] = "ok" if error is None else error.code

        publisher.send("alerts", value, on_delivery=told)

    for value in (b"a", b"bad", b"c"):
        send(value)
    assert not publisher.busy()
    publisher.poll()
    assert publisher.busy()
    send(b"last")
    assert publisher.flush(1.0) == 0
    publisher.close()
    return producer, found


def test_what_is_refused_for_another_is_sent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    producer, found = sent(monkeypatch, lambda batch: KafkaError.INVALID_TIMESTAMP if b"bad" in batch else None)
    assert found == {b"a": "ok", b"bad": "record_refused", b"c": "ok", b"last": "ok"}
    assert producer.batches == [[b"a", b"bad", b"c"], [b"a"], [b"bad"], [b"c"], [b"last"]]


def test_once_nobody_acknowledges_the_others_are_not_sent_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(batch: list[bytes]) -> int | None:
        return KafkaError.INVALID_TIMESTAMP if len(batch) > 1 else KafkaError._MSG_TIMED_OUT

    producer, found = sent(monkeypatch, answer)
    assert set(found.values()) == {"broker_away"} and len(found) == 4
    assert producer.batches == [[b"a", b"bad", b"c"], [b"a"], [b"last"]]
