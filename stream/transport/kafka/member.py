"""How a consumer takes part in its group and reads: settings of librdkafka that each have their reason."""

from __future__ import annotations


def member_settings(
    group: str, instance: str | None, session_timeout_ms: int, max_poll_interval_ms: int
) -> dict[str, str | int | float | bool]:
    """The settings of a member of `group`; `instance` makes it a static one.

    The classic protocol with cooperative rebalances, since with the newer one (KIP-848) the partitions of a killed
    member come back after the broker's 45 s, and a static member that restarts is refused. Offsets are ours to keep:
    nothing is committed or reset by itself. Batches with a wrong checksum are found.
    """
    return {
        "client.id": "skyburst",
        "group.id": group,
        **({} if instance is None else {"group.instance.id": instance}),
        "group.protocol": "classic",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": session_timeout_ms,
        "heartbeat.interval.ms": max(100, min(1000, session_timeout_ms // 4)),
        "max.poll.interval.ms": max(max_poll_interval_ms, session_timeout_ms),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "check.crcs": True,
        "allow.auto.create.topics": False,
        "topic.metadata.refresh.interval.ms": 30_000,
        "reconnect.backoff.max.ms": 1000,
        "enable.metrics.push": False,
    }
