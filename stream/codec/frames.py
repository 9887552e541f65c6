"""How each message of a batch is framed, read from all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.alert import Refusal
from stream.codec.container import MAGIC
from stream.codec.messages import Messages

WIRE_HEAD = 5
"""Bytes before the datum of a wire message: 0x00 and the schema id, big-endian (Confluent wire format)."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The messages of a batch by their framing.

    Attributes
    ----------
    messages
        Where they lie.
    wire
        ``int64[w]``: the wire messages.
    schema_ids
        ``int64[w]``: the id that each of them names.
    containers
        ``int64[c]``: the container files.
    refused
        The others.
    """

    messages: Messages
    wire: NDArray[np.int64]
    schema_ids: NDArray[np.int64]
    containers: NDArray[np.int64]
    refused: list[Refusal]


def read_frames(values: Sequence[bytes], max_packet: int) -> Frames:
    """Sort the messages by their first bytes.

    Parameters
    ----------
    values
        The messages.
    max_packet
        Bytes beyond which a message is refused unread.
    """
    n = len(values)
    messages = Messages.of(values)
    buffer, starts = messages.buffer, messages.starts
    sizes = messages.ends - starts
    readable = (sizes >= WIRE_HEAD) & (sizes <= max_packet)
    first = np.full(n, 255, np.uint8)
    first[readable] = buffer[starts[readable]]
    wire = np.flatnonzero(first == 0)
    at = starts[wire]
    ids = np.zeros(len(wire), np.int64)
    for i in range(1, WIRE_HEAD):
        ids = (ids << 8) | buffer[at + i]
    containers = np.flatnonzero(first == MAGIC[0])
    for i in range(1, len(MAGIC)):
        containers = containers[buffer[starts[containers] + i] == MAGIC[i]]
    other = np.ones(n, np.bool_)
    other[wire] = False
    other[containers] = False
    refused = [_refusal(row, values[row], max_packet) for row in np.flatnonzero(other).tolist()]
    return Frames(messages, wire, ids, containers, refused)


def _refusal(row: int, value: bytes, max_packet: int) -> Refusal:
    if len(value) > max_packet:
        return Refusal(row, "oversized", f"the message has {len(value)} bytes, more than {max_packet}")
    if len(value) < WIRE_HEAD and value[:1] in (b"", b"\x00", MAGIC[:1]):
        return Refusal(row, "truncated", f"the message ends inside its frame, after {len(value)} bytes")
    return Refusal(row, "magic", f"the message begins with {value[:4].hex()}, which is no frame that is known")
