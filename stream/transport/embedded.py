"""A small Kafka broker inside this process: librdkafka's mock cluster, from the library that the wheel carries.

Other processes connect to its `bootstrap`. It knows groups, commits, headers and all codecs, keeps 5 MiB of each
partition and nothing on disk: for a demo and for fault tests, not for load. Whoever sends must not run more than
`SAFE_UNREAD` bytes ahead of whoever reads.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import confluent_kafka

from stream.errors import Fatal, Wrong

KEPT_BYTES = 5 << 20
"""Bytes of a partition that the broker keeps; older records go when more come."""
SAFE_UNREAD = 4 << 20
"""Bytes of a partition that may lie unread."""
FETCH, PRODUCE, OFFSET_COMMIT, METADATA = 1, 0, 8, 3
"""Numbers of Kafka requests, for `EmbeddedBroker.fail`."""
_POINTER, _INT, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
_PRODUCER = 0
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "rd_kafka_conf_new": (_POINTER, ()),
    "rd_kafka_conf_set": (_INT, (_POINTER, _TEXT, _TEXT, _TEXT, ctypes.c_size_t)),
    "rd_kafka_new": (_POINTER, (_INT, _POINTER, _TEXT, ctypes.c_size_t)),
    "rd_kafka_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_new": (_POINTER, (_POINTER, _INT)),
    "rd_kafka_mock_cluster_destroy": (None, (_POINTER,)),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, (_POINTER,)),
    "rd_kafka_mock_topic_create": (_INT, (_POINTER, _TEXT, _INT, _INT)),
    "rd_kafka_mock_topic_delete": (_INT, (_POINTER, _TEXT)),
    "rd_kafka_mock_set_controller_id": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_down": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_up": (_INT, (_POINTER, ctypes.c_int32)),
    "rd_kafka_mock_broker_set_host_port": (_INT, (_POINTER, ctypes.c_int32, _TEXT, _INT)),
    "rd_kafka_mock_partition_delete_records": (_INT, (_POINTER, _TEXT, ctypes.c_int32, ctypes.c_int64)),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        (_POINTER, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(_INT)),
    ),
    "rd_kafka_err2str": (_TEXT, (_INT,)),
}


class EmbeddedBroker:
    """One broker, up from its making until `close`.

    Attributes
    ----------
    bootstrap
        ``127.0.0.1:port``, as clients want it.

    Raises
    ------
    stream.errors.Fatal
        ``embedded_unavailable``: the librdkafka that confluent-kafka runs on cannot be found, or lacks the mock.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._client = self._make_client()
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self._library.rd_kafka_destroy(self._client)
            raise Fatal("embedded_unavailable", "librdkafka could not start its mock cluster")
        self.bootstrap: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        # Without a controller nobody can ask for topic ids; without a delay of 0 a group waits 3 s for its first.
        self._library.rd_kafka_mock_set_controller_id(self._cluster, 1)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)

    def create_topic(self, name: str, partitions: int = 4) -> None:
        """Make a topic; raises Wrong ``topic_exists`` where there is one."""
        self._done(self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1), name)

    def delete_topic(self, name: str) -> None:
        """Forget a topic and what it has: made again, it has another id."""
        self._done(self._library.rd_kafka_mock_topic_delete(self._cluster, name.encode()), name)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Let the log begin at offset `before`, as retention would."""
        self._done(
            self._library.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, before),
            topic,
        )

    def go_down(self) -> None:
        """Cut all connections and take no more."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, 1)

    def come_up(self) -> None:
        """Take connections again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, 1)

    def advertise(self, port: int) -> None:
        """Send clients to this port of 127.0.0.1 from now on: a proxy's, that delays, cuts or damages."""
        self._library.rd_kafka_mock_broker_set_host_port(self._cluster, 1, b"127.0.0.1", port)

    def fail(self, request: int, errors: Sequence[int]) -> None:
        """Answer the next requests of this kind (`FETCH`, …) with these Kafka error codes, one each."""
        codes = (_INT * len(errors))(*errors)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(errors), codes)

    def close(self) -> None:
        """End the broker; what it had is gone."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._library.rd_kafka_destroy(self._client)
            self._cluster = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_client(self) -> Any:
        conf = self._library.rd_kafka_conf_new()
        reason = ctypes.create_string_buffer(512)
        # A client needs somewhere to connect to, or says so on stderr; nothing listens on port 1.
        for name, value in ((b"bootstrap.servers", b"127.0.0.1:1"), (b"log_level", b"2")):
            self._library.rd_kafka_conf_set(conf, name, value, reason, len(reason))
        client = self._library.rd_kafka_new(_PRODUCER, conf, reason, len(reason))
        if not client:
            raise Fatal("embedded_unavailable", f"librdkafka: {reason.value.decode()}")
        return client

    def _done(self, code: int, topic: str) -> None:
        if code != 0:
            said = self._library.rd_kafka_err2str(code).decode()
            exists = code == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS
            raise Wrong("topic_exists" if exists else "topic_refused", f"{topic}: {said}")


def _load() -> ctypes.CDLL:
    package = Path(confluent_kafka.__file__).parent
    bundled = [*package.parent.glob("confluent_kafka.libs/librdkafka*"), *package.glob(".dylibs/librdkafka*")]
    named = str(bundled[0]) if bundled else ctypes.util.find_library("rdkafka")
    if named is None:
        raise Fatal("embedded_unavailable", "the librdkafka of confluent-kafka was not found", "use a real broker")
    library = ctypes.CDLL(named)
    try:
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise Fatal("embedded_unavailable", f"{named} has no mock cluster: {error}", "use a real broker") from error
    return library
