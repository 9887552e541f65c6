"""Kafka through librdkafka: what `Source` and `Publisher` promise, kept on a real broker and on the embedded one."""

from stream.transport.kafka.limits import STOCK_FETCH, STOCK_SEND, FetchLimits, SendLimits
from stream.transport.kafka.publisher import KafkaPublisher
from stream.transport.kafka.source import KafkaSource

__all__ = ["STOCK_FETCH", "STOCK_SEND", "FetchLimits", "KafkaPublisher", "KafkaSource", "SendLimits"]
