"""Messages to columns: whatever a producer puts beside the value, the message is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, Message

from stream.alert import Header
from stream.metrics import TRANSPORT_ERRORS
from stream.transport.kafka.assignment import Assignment
from stream.transport.kafka.columns import HEADERS_LOST, records_of


class Given:
    """A message as the client hands it over; its headers may be an error."""

    def __init__(self, offset: int, headers: Sequence[Header] | Exception | None) -> None:
        self._offset = offset
        self._headers = headers

    def error(self) -> None:
        return None

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000 + self._offset

    def value(self) -> bytes:
        return b"value %d" % self._offset

    def key(self) -> bytes:
        return b"key %d" % self._offset

    def headers(self) -> Sequence[Header] | None:
        if isinstance(self._headers, Exception):
            raise self._headers
        return self._headers


class Placed:
    """An assignment that reads partition 0 from offset 0 on."""

    def __init__(self) -> None:
        self.at = 0

    def position(self, _partition: object) -> int:
        return self.at

    def advance(self, _partition: object, offset: int) -> None:
        self.at = offset


def refused(_message: Message, error: KafkaError) -> None:
    raise AssertionError(error)


@pytest.mark.parametrize(
    "error",
    [
        SystemError("<method 'headers' of 'cimpl.Message' objects> returned a result with an exception set"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ],
)
def test_a_message_whose_headers_cannot_be_read_is_kept_with_all_else_and_marked(error: Exception) -> None:
    before = TRANSPORT_ERRORS.value(code="headers_lost")
    assignment = Placed()
    messages: list[Any] = [Given(0, [("visit", b"7")]), Given(1, error), Given(2, None)]
    (found,) = records_of(messages, cast(Assignment, assignment), refused)
    assert found.headers == [(("visit", b"7"),), HEADERS_LOST, ()] and assignment.at == 3
    assert found.values == [b"value 0", b"value 1", b"value 2"] and found.keys == [b"key 0", b"key 1", b"key 2"]
    assert np.array_equal(found.timestamp, [1000, 1001, 1002])
    assert TRANSPORT_ERRORS.value(code="headers_lost") == before + 1
