"""Every metric, declared once. Names and labels are a public interface: dashboards and alert rules stand on them.

Labels are bounded: a topic, a partition, a stable code, a stage; never an id. A later series of a metric that has
reached its limit counts under ``other``. What may come at once and is rare begins at 0, so that its first is seen.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector

from stream.instruments import PREFIX, Counter, Declared, Gauge, Histogram, RatePeak

REGISTRY = CollectorRegistry(auto_describe=False)
DECLARED: dict[str, Declared] = {}

LATENCY_S = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
"""Upper bounds in seconds; 60 s is the survey's promise (LSE-61 OTT1)."""
STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)
BYTES = tuple(float(1 << power) for power in range(14, 29, 2))

SINK = "alertdb"
OUTCOMES = ("new", "repeated", "conflict", "quarantined", "tombstone")
SEALED = ("full", "night", "shutdown", "takeover", "failed", "too_many_files")
FENCES = ("ledger_fenced", "segment_fenced", "redrive_fenced", "level1_duplicate")
REFUSED = (
    *("truncated", "trailing_bytes", "magic", "oversized", "too_large", "varint", "int_range", "bad_boolean"),
    *("bad_union", "bad_enum", "bad_length", "bad_block", "bad_utf8", "bad_header", "bad_sync", "bad_compression"),
    *("codec", "inflation", "empty_container", "too_many_records", "schema_refused", "schema_unknown", "bad_time"),
    *("bad_position", "missing_value", "wrong_type", "out_of_range", "too_long", "bad_text", "level1_refused"),
)


def _declare(
    name: str,
    kind: str,
    doc: str,
    labels: tuple[str, ...],
    buckets: tuple[float, ...] = (),
    limit: int = 200,
    known: tuple[tuple[str, ...], ...] = (),
) -> Declared:
    declared = Declared(PREFIX + name, kind, doc, labels, limit, buckets, known)
    DECLARED[declared.name] = declared
    return declared


def _counter(name: str, doc: str, *labels: str, known: Iterable[tuple[str, ...]] = ()) -> Counter:
    return Counter(_declare(name, "counter", doc, labels, known=tuple(known)), REGISTRY)


def _gauge(name: str, doc: str, *labels: str, limit: int = 200) -> Gauge:
    return Gauge(_declare(name, "gauge", doc, labels, limit=limit), REGISTRY)


def _histogram(name: str, doc: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(_declare(name, "histogram", doc, labels, buckets), REGISTRY)


# arrival
ARRIVED_RECORDS = _counter("arrived_records_total", "Messages polled from Kafka.", "topic")
ARRIVED_BYTES = _counter("arrived_bytes_total", "Bytes of the values of messages polled from Kafka.", "topic")
ARRIVAL_PEAK = _gauge(
    "arrival_peak_records", "Most messages polled within one second since the last scrape of this process."
)
LAG = _gauge(
    "consumer_lag_records", "Offsets from the ledger's next to the log's end.", "topic", "partition", limit=2000
)
ASSIGNED_PARTITIONS = _gauge("assigned_partitions", "Partitions that this process owns.")
PAUSED_PARTITIONS = _gauge("paused_partitions", "Partitions whose fetching is paused because too much is in flight.")
HELD_PARTITIONS = _gauge("held_partitions", "Partitions that wait for the world or an operator, by code.", "code")
REBALANCES = _counter(
    "rebalances_total",
    "Changes of the assignment: assigned, revoked or lost.",
    "event",
    known=[("assigned",), ("revoked",), ("lost",)],
)
TRANSPORT_ERRORS = _counter("transport_errors_total", "Errors that librdkafka reported, by its name of them.", "code")

# between poll and commit
INFLIGHT_BYTES = _gauge(
    "inflight_bytes", "Bytes between poll and commit: of messages as they came, then of their compressed blocks."
)
INFLIGHT_LIMIT = _gauge("inflight_limit_bytes", "Bytes in flight beyond which polling stops.")
OLDEST_UNFLUSHED = _gauge("oldest_unflushed_age_seconds", "Age of the oldest message polled and not yet committed.")
BATCH_RECORDS = _histogram("batch_records", "Messages in a batch.", RECORDS)
BATCH_BYTES = _histogram("batch_bytes", "Bytes in a batch.", BYTES)
BATCHES_HURRIED = _counter(
    "batches_hurried_total", "Batches compressed in a hurry, for more room, since the daemon was behind."
)
FLUSH_DURATION = _histogram(
    "flush_duration_seconds",
    "Seconds that a batch spent in a stage: check, place, compress, append, rows, sync, publish.",
    STAGE_S,
    "sink",
    "stage",
)

# kept
RECORDS_KEPT = _counter(
    "records_total",
    "Records committed, by what came of them: new, repeated, conflict, quarantined, tombstone.",
    "sink",
    "outcome",
    known=[(SINK, outcome) for outcome in OUTCOMES],
)
BYTES_KEPT = _counter("bytes_total", "Bytes of the packets committed, as they came.", "sink", known=[(SINK,)])
COMMITS = _counter("commits_total", "Commits whose transaction is known to stand.", "sink", known=[(SINK,)])
COMMITS_AGAIN = _counter(
    "commits_again_total", "Commits whose transaction was done a second time, since an id of theirs had a row already."
)
LAST_COMMIT = _gauge("last_commit_timestamp_seconds", "When the last commit ended, seconds since 1970 UTC.")
END_TO_END = _histogram(
    "end_to_end_latency_seconds", "Seconds from the alert's Kafka timestamp to its commit, clamped at 0.", LATENCY_S
)
VISIT_LATENCY = _histogram(
    "visit_latency_seconds", "Seconds from the end of a visit's readout to its alert's commit, clamped at 0.", LATENCY_S
)
VISIT_PARTS = _counter("visit_parts_total", "Rows written to visit_part.")
LEDGER_FENCED = _counter(
    "ledger_fenced_total",
    "Commits rolled back since another moved on, by the error's code.",
    "fence",
    known=[(code,) for code in FENCES],
)
RETRIES = _counter("retries_total", "Waits for something that was away, by the error's code.", "code")
KAFKA_COMMIT_FAILURES = _counter("kafka_commit_failures_total", "Advisory commits to Kafka that failed.")

# refused
QUARANTINED = _counter(
    "quarantined_total", "Packets put into quarantine, by code.", "code", known=[(code,) for code in REFUSED]
)
REDRIVEN = _counter("redriven_total", "Quarantined packets that were taken after all.")
SCHEMA_UNKNOWN = _counter("schema_unknown_total", "Packets whose schema id no source knew when they came.")
POISON_LEFT = _gauge("quarantine_left_records", "Bad packets that may still come before polling stops.")

# the store
SEGMENT_BYTES = _counter(
    "segment_bytes_total", "Bytes appended to segments: data or index.", "file", known=[("data",), ("index",)]
)
SEGMENTS_SEALED = _counter(
    "segments_sealed_total",
    "Segments sealed: full, night, shutdown, takeover, failed or too_many_files.",
    "reason",
    known=[(reason,) for reason in SEALED],
)
OPEN_SEGMENTS = _gauge("open_segments", "Segments that this process has open.")
ORPHAN_SEGMENTS = _gauge("orphan_segments", "Files without a row that names them, when last looked for.")
DISK_FREE = _gauge("disk_free_bytes", "Bytes free where segments are written.")
DISK_RESERVE = _gauge("disk_reserve_bytes", "Free bytes below which readiness is false.")

# the process
READY = _gauge("ready", "1 where /readyz says yes, else 0.")
WARNINGS = _gauge("warnings", "What /readyz warns of while work goes on, by code: 1 while it holds, else 0.", "code")
LOOP_AGE = _gauge("loop_age_seconds", "Seconds since the run loop last turned.")
BUILD_INFO = _gauge("build_info", "Always 1; the labels say what runs.", "version", "python", "survey")

PEAK = RatePeak()
ARRIVAL_PEAK.follow(PEAK.take)
ProcessCollector(registry=REGISTRY)


def arrived(topic: str, records: int, nbytes: int) -> None:
    """Count `records` messages of `nbytes` bytes that a poll gave: rate, bytes and peak."""
    ARRIVED_RECORDS.add(records, topic=topic)
    ARRIVED_BYTES.add(nbytes, topic=topic)
    PEAK.add(records)


def say_build(survey: str) -> None:
    """Fill ``build_info``."""
    BUILD_INFO.set(1, version=version("skyburst"), python=platform.python_version(), survey=survey)
