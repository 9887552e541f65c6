"""What librdkafka's errors mean here: trouble of a partition, an error class, or a line in the log."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from stream.errors import Fatal, Held, Poison, SkyburstError, Transient, Wrong
from stream.transport.source import Partition, PartitionTrouble, TroubleCode

_GONE = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_LOGIN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL})
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_NOT_VALID = frozenset({KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP})


def kafka_error(raised: KafkaException) -> KafkaError:
    """The `KafkaError` inside an exception, whatever it was raised with."""
    inner = raised.args[0] if raised.args else None
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError._FAIL, str(raised))


def trouble_code(error: KafkaError) -> TroubleCode:
    """The code of what stopped a partition; an offset outside the log is told apart later, by the watermarks."""
    if error.code() == KafkaError._LOG_TRUNCATION:
        # Also where the log has grown past the position since: what lies before it is not what was read there.
        return "ledger_ahead"
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        return "offsets_expired"
    if error.code() in _GONE:
        return "topic_gone"
    if error.code() in _REFUSED:
        return "not_authorized"
    if error.code() in (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION):
        return "bad_batch"
    return "partition_failed"


def is_login(error: KafkaError) -> bool:
    """Whether the broker refused who we are, or we it."""
    return error.code() in _LOGIN


def as_error(error: KafkaError, doing: str) -> SkyburstError:
    """The error class for `error`, met while `doing` (words for people)."""
    message = f"{doing}: {error.str()}"
    if _means(error, KafkaError.FENCED_INSTANCE_ID):
        return Fatal("instance_taken", message, "another process runs under this instance name: give each its own")
    if error.code() == KafkaError.INVALID_SESSION_TIMEOUT:
        allowed = "the broker's group.min.session.timeout.ms to group.max.session.timeout.ms"
        return Wrong("kafka_setting", message, f"set session_timeout_ms within {allowed}")
    if error.code() == KafkaError.TOPIC_EXCEPTION:
        letters = "a topic's name has letters, digits, '.', '_' and '-', 249 at most"
        return Wrong("topic_refused", message, letters)
    if error.fatal() or error.code() == KafkaError._FATAL:
        return Fatal("broker_fatal", message)
    if error.code() in _GONE:
        return Held("topic_gone", message, "create it with `skyburst topics create`")
    if error.code() in _REFUSED:
        return Held("not_authorized", message, "grant this user access to the topic and the group")
    if error.code() in _TOO_LARGE:
        return Poison("too_large", message)
    if error.code() in _NOT_VALID:
        advice = (
            "see whether the topic takes its timestamp (message.timestamp.after.max.ms), and no key (cleanup.policy)"
        )
        return Poison("record_refused", message, advice)
    return Transient("broker_away", message, "see whether the broker is up and --bootstrap and kafka_security fit it")


def _means(error: KafkaError, code: int) -> bool:
    """Whether this is the error `code`, also where librdkafka wraps it: a fatal one it hands over as its text alone."""
    return error.code() == code or (error.code() == KafkaError._FATAL and KafkaError(code).str() in error.str())


def outside_log(partition: Partition, position: int, start: int, end: int) -> PartitionTrouble:
    """What is missing where the broker refused `position`, and its log is ``[start, end)`` now."""
    if position < start:
        lost = f"{start - position} records before the log's start are gone: offsets {position} to {start - 1}"
        return PartitionTrouble(*partition, "offsets_expired", lost, position, (position, start))
    lost = "the broker lost what was acknowledged"
    if position > end:
        ahead = f"the ledger is at {position} and the log ends at {end}: {lost}"
        return PartitionTrouble(*partition, "ledger_ahead", ahead, position, (end, position))
    # What the log got since it ended before the position stands at offsets that were read with something else in them.
    grown = f"the ledger is at {position}, where the log ended earlier; it ends at {end} now: {lost}"
    return PartitionTrouble(*partition, "ledger_ahead", grown, position)
