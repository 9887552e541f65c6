"""A private single-node Kafka broker (KRaft): own data folder, every listener on 127.0.0.1."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.errors import Fatal
from stream.local.broker import DEFAULTS, TLS_LISTENERS, BrokerTls, broker_settings
from stream.local.jars import QUICK_JAVA, classpath, find_java, kafka_jars
from stream.local.ports import LOOPBACK, free_ports, need_free
from stream.local.process import Process, tail, wait_until

_LOGGING = """status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


class LocalKafka:
    """A Kafka broker of one's own, in a folder of one's own.

    Parameters
    ----------
    folder
        Holds log, settings, pid file and data; made where absent.
    jars
        Folder of Kafka's jars; `stream.local.jars.default_folder` where None, fetched where incomplete.
    tls
        Adds the listeners ``TLS``, ``MTLS`` and ``SCRAM`` to ``PLAINTEXT``.
    options
        Further broker settings; they win over `DEFAULTS`.
    java
        JVM options; `QUICK_JAVA` by default.
    heap
        The JVM's largest heap.
    """

    def __init__(
        self,
        folder: Path,
        jars: Path | None = None,
        *,
        tls: BrokerTls | None = None,
        options: Mapping[str, str] | None = None,
        java: Sequence[str] = QUICK_JAVA,
        heap: str = "512m",
    ) -> None:
        self.folder = folder.absolute()
        self.tls = tls
        self.options = {**DEFAULTS, **(options or {})}
        self.jars = jars
        self._java = [*java, f"-Xmx{heap}", "-Xshare:auto"]
        self._process = Process.find(self._pid_file)
        self._ports: dict[str, int] = {}

    @property
    def bootstrap(self) -> str:
        """Address of the plaintext listener, the same at every start."""
        return self.address("PLAINTEXT")

    def address(self, listener: str) -> str:
        """``host:port`` of a listener: ``PLAINTEXT``, and with `tls` also ``TLS``, ``MTLS`` or ``SCRAM``."""
        return f"{LOOPBACK}:{self._settled[listener]}"

    @property
    def running(self) -> bool:
        """Whether the broker process is there."""
        return self._process is not None and self._process.alive

    @property
    def process(self) -> Process:
        """The broker process, for signals."""
        if self._process is None:
            raise Fatal("kafka_not_started", f"no Kafka was started in {self.folder}")
        return self._process

    @property
    def log(self) -> Path:
        """The broker's own log (warnings and errors)."""
        return self.folder / "kafka.log"

    def start(self, *, within_s: float = 90.0) -> LocalKafka:
        """Format the storage where absent, start the broker and return once it answers for its metadata.

        Raises
        ------
        Fatal
            ``java_missing``, ``maven_missing``, ``jars_failed``, or ``kafka_failed`` with the end of its log.
        """
        if self.running:
            return self
        jars = kafka_jars(self.jars)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.folder / "server.json").exists():
            self._format(jars)
        need_free(self._settled.values(), "kafka_failed", self.folder)
        self._process = Process.start(
            [*self._command(jars), "kafka.Kafka", str(self._settings)], log=self.log, pid_file=self._pid_file
        )
        if not self._process.comes_up(self._answers, within_s):
            raise Fatal("kafka_failed", f"Kafka in {self.folder} did not come up:\n{tail(self.log)}")
        return self

    def stop(self, *, within_s: float = 30.0) -> None:
        """Shut the broker down (SIGTERM), or kill it after `within_s` seconds."""
        if self._process is not None:
            self._process.stop(within_s)

    def kill(self) -> None:
        """Kill the broker (SIGKILL); its log comes back with the next start."""
        self.process.kill()

    def restart(self) -> LocalKafka:
        """Stop and start again on the same ports with the same data."""
        self.stop()
        return self.start()

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Create a topic and return once it has leaders.

        Raises
        ------
        KafkaException
            The broker's refusal, e.g. TOPIC_ALREADY_EXISTS.
        """
        admin = self._admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        for done in admin.create_topics([topic], operation_timeout=30).values():
            done.result(30)
        if not wait_until(lambda: self._led(admin, name) == partitions, 30.0):
            raise Fatal("kafka_failed", f"topic {name} has no leaders after 30 s")

    def delete_topic(self, name: str) -> None:
        """Delete a topic with all it holds."""
        # Kept in a name: collected before the answer, the client would give none.
        admin = self._admin()
        for done in admin.delete_topics([name], operation_timeout=30).values():
            done.result(30)

    @property
    def _pid_file(self) -> Path:
        return self.folder / "kafka.pid.json"

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _settled(self) -> dict[str, int]:
        if not self._ports:
            try:
                self._ports = json.loads((self.folder / "server.json").read_text())
            except FileNotFoundError:
                raise Fatal("kafka_not_started", f"no Kafka was started in {self.folder}") from None
        return self._ports

    def _command(self, jars: Path) -> list[str]:
        logging = self.folder / "log4j2.properties"
        return [find_java(), *self._java, f"-Dlog4j2.configurationFile={logging}", "-cp", classpath(jars)]

    def _format(self, jars: Path) -> None:
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        names = ["PLAINTEXT", "CONTROLLER", *(TLS_LISTENERS if self.tls else ())]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        settings = broker_settings(self.folder, ports, self.tls) | self.options
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        scram = [
            f"--add-scram=SCRAM-SHA-512=[name={name},password={password}]"
            for name, password in (self.tls.users if self.tls else {}).items()
        ]
        done = subprocess.run(
            [
                *self._command(jars),
                "kafka.tools.StorageTool",
                *("format", "--cluster-id", new_cluster_id(), "--config", str(self._settings), *scram),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Fatal("kafka_failed", f"Kafka's storage in {self.folder}: {done.stdout}{done.stderr}")
        # Whole or not at all: what it lacks, no later start could tell.
        fresh = self.folder / "server.json.new"
        fresh.write_text(json.dumps(ports))
        fresh.replace(self.folder / "server.json")

    def _admin(self) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "log_level": 0,
            }
        )

    def _answers(self) -> bool:
        try:
            return bool(self._admin().list_topics(timeout=2.0).brokers)
        except KafkaException:
            return False

    def _led(self, admin: AdminClient, name: str) -> int:
        found: Any = admin.list_topics(name, timeout=10.0).topics[name]
        return sum(partition.leader >= 0 for partition in found.partitions.values())


def new_cluster_id() -> str:
    """A random cluster id in Kafka's form: 22 characters of URL-safe base64 that begin with no dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
