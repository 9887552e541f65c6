"""Private Kafka and MariaDB processes on loopback, in a folder of their own: for trying out, tests and benchmarks."""

from __future__ import annotations

from stream.local.broker import BrokerTls
from stream.local.jars import kafka_jars
from stream.local.kafka import LocalKafka
from stream.local.mariadb import LocalMariadb

__all__ = ["BrokerTls", "LocalKafka", "LocalMariadb", "kafka_jars"]
