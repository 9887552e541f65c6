"""Messages read where they lie."""

from __future__ import annotations

import sys

import numpy as np

from stream.codec.messages import Messages


def test_each_message_is_found_where_it_lies(rng: np.random.Generator) -> None:
    values = [rng.bytes(size) for size in (1, 70_000, 0, 5, 3_000_000, 62_000)]
    values.append(values[1])

    messages = Messages.of(values)

    found = [messages.buffer[start:end].tobytes() for start, end in zip(messages.starts, messages.ends, strict=True)]
    assert found == values
    assert messages.starts.min() == 0


def test_nothing_has_no_place() -> None:
    assert len(Messages.of([]).starts) == 0
    assert Messages.of([b"", b""]).ends.tolist() == Messages.of([b"", b""]).starts.tolist()


def test_an_array_over_them_keeps_them_alive_and_cannot_be_written() -> None:
    message = bytes(100_000)
    alone = sys.getrefcount(message)

    piece = Messages.of([message]).buffer[10:20]

    assert sys.getrefcount(message) > alone
    assert not piece.flags.writeable
    del piece
    assert sys.getrefcount(message) == alone
