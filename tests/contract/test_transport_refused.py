"""Records that a broker refuses: which of them are told so, and what becomes of those around them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from transport_brokers import Broker, Got, from_start, nothing

from stream.errors import Poison, SkyburstError
from stream.local import LocalKafka

HOUR_MS = 3_600_000
FAR_MS = 4_102_444_800_000
"""In the year 2100: a stock broker takes an hour ahead of its clock."""


@pytest.fixture
def broker(kafka: LocalKafka) -> Iterator[Broker]:
    made = Broker(kafka)
    yield made
    made.close()


@pytest.mark.parametrize("far", [{3}, {3, 11}])
def test_a_record_that_is_refused_takes_no_other_with_it(
    kafka: LocalKafka, broker: Broker, topic: str, far: set[int]
) -> None:
    kafka.create_topic(topic, 1, {"message.timestamp.after.max.ms": str(HOUR_MS)})
    told: dict[int, SkyburstError | None] = {}
    publisher = broker.publisher({"linger.ms": 500})
    for number in range(20):

        def tell(error: SkyburstError | None, partition: int, offset: int, number: int = number) -> None:
            assert number not in told
            told[number] = error

        stamp = FAR_MS if number in far else None
        publisher.send(topic, b"%d" % number, headers=(("none", None),), timestamp_ms=stamp, on_delivery=tell)
    assert publisher.flush(20) == 0
    refused = {number: error for number, error in told.items() if error is not None}
    assert len(told) == 20 and refused.keys() == far
    assert all(isinstance(error, Poison) and error.code == "record_refused" for error in refused.values())
    source = broker.source(topic)
    source.subscribe([topic], from_start, nothing, nothing)
    got = Got(source).count(20 - len(far))
    assert sorted(int(value or b"") for _, _, value in got.rows) == sorted(set(range(20)) - far)
    assert all(headers == (("none", None),) for each in got.polls for headers in each.headers)
