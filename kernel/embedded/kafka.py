"""Apache Kafka: one node in KRaft mode with a generated password, on the Java of a wheel.

Loopback is open to every user of the machine. SCRAM, and not PLAIN, because a program that takes
the port while the broker is down must not learn the password from its clients.
"""

import secrets
import shutil
import signal
from pathlib import Path
from uuid import uuid4

from kernel.embedded.errors import read_from
from kernel.embedded.folder import write_atomically
from kernel.embedded.jars import classpath
from kernel.embedded.java import aot_cache, java_command, use_aot_cache
from kernel.embedded.server import ManagedServer
from kernel.errors import EmbeddedError

STARTED = "Kafka Server started"
USER = "obm"
MECHANISM = "SCRAM-SHA-256"
# A small node: one controller, few partitions, one disk. Flushing is left to the operating system,
# as is Kafka's default: acks=all on one node is not a disk sync. After a kill the restarted broker
# waits for its old registration to expire, 3 s. Nobody reads its metrics by JMX, and to register
# those of a partition is a fifth of the CPU that creates it. What is committed needs no checkpoint,
# because there is one replica: to write that of 4,000 partitions every 5 s takes 6 % of a core.
# Idle, a controller writes a record twice a second to show how far others lag; here are none.
PROPERTIES = """
process.roles=broker,controller
node.id=1
listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=BROKER:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
sasl.enabled.mechanisms={mechanism}
sasl.mechanism.inter.broker.protocol={mechanism}
listener.name.broker.scram-sha-256.sasl.jaas.config={scram} required {login};
listener.name.controller.sasl.enabled.mechanisms=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.controller.plain.sasl.jaas.config={plain} required {login} user_{user}="{password}";
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
controller.quorum.election.timeout.ms=200
controller.quorum.election.backoff.max.ms=50
controller.quorum.fetch.timeout.ms=500
broker.heartbeat.interval.ms=750
metadata.max.idle.interval.ms=10000
num.network.threads=2
num.io.threads=4
num.recovery.threads.per.data.dir=2
background.threads=2
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.backoff.ms=5000
log.segment.delete.delay.ms=1000
metric.reporters=
metrics.jmx.exclude=.*
replica.high.watermark.checkpoint.interval.ms=60000
"""
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
# Of the controller, which has no stored users yet when its first client, this node, connects.
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
LOGGING = """
status=warn
appender.stdout.type=Console
appender.stdout.name=stdout
appender.stdout.layout.type=PatternLayout
appender.stdout.layout.pattern=%d{ISO8601} %p %m (%c{1})%n
rootLogger.level=warn
rootLogger.appenderRef.stdout.ref=stdout
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=info
"""


class EmbeddedKafka(ManagedServer):
    name = "kafka"
    title = "Kafka"
    stop_signals = (signal.SIGTERM,)
    death_signal = signal.SIGKILL

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def client_settings(self) -> dict[str, str]:
        """The settings of the broker's clients, by environment variable."""
        return {
            "OBM_KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "OBM_KAFKA_SASL_MECHANISM": MECHANISM,
            "OBM_KAFKA_SASL_USERNAME": USER,
            "OBM_KAFKA_SASL_PASSWORD": self._password_file.read_text(),
        }

    @property
    def data(self) -> Path:
        return self.folder.path / "kafka"

    def create_data(self) -> None:
        if not self._password_file.exists():
            if self.data.exists():
                raise EmbeddedError(
                    f"{self._password_file} is missing, the password of {self.data}. Restore it, "
                    "or remove both to start empty: the engine publishes again what it needs."
                )
            write_atomically(self._password_file, secrets.token_hex(24))
        self._classpath = classpath()
        self._controller = self.folder.port("controller", 0)
        write_atomically(self._file("log4j2.properties"), LOGGING)
        self.folder.create_once("kafka", self._format)
        if not (self.data / "meta.properties").exists():
            raise EmbeddedError(
                f"{self.data} has no meta.properties. Restore it, or remove it to start empty."
            )
        self._configure(self.data)

    def wipe(self) -> None:
        """Delete all data, as with a new disk; the engine rebuilds the topics from PostgreSQL."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def command(self) -> list[str]:
        broker = self._java(*self.aot_options(), "-XX:+ExitOnOutOfMemoryError")
        return [*broker, "kafka.Kafka", str(self._properties)]

    def aot_options(self) -> list[str]:
        return use_aot_cache(aot_cache())

    def is_ready(self) -> bool:
        return STARTED in read_from(self.log, self._log_start)

    def _format(self, folder: Path) -> None:
        folder.mkdir(0o700)
        self._configure(folder)
        tool = [*self._java(*use_aot_cache(aot_cache())), "kafka.tools.StorageTool", "format"]
        # In a file: every user of the machine sees the arguments of a process.
        users = self._file("users")
        write_atomically(users, "".join(f"--add-scram\n{one}\n" for one in self.users()))
        cluster = self.cluster_options()
        self.run_tool([*tool, *cluster, "--config", str(self._properties), f"@{users}"])
        users.unlink()

    def cluster_options(self) -> list[str]:
        """Which cluster a new broker belongs to: one of its own."""
        return ["--standalone", "--cluster-id", "obm-" + uuid4().hex[:18]]

    def users(self) -> list[str]:
        """The users that the broker knows, in the syntax of `kafka-storage --add-scram`."""
        password = self._password_file.read_text()
        return [f"{MECHANISM}=[name={USER},password={password}]"]

    def properties(self, data: Path) -> str:
        """The configuration of the broker."""
        password = self._password_file.read_text()
        login = f'username="{USER}" password="{password}"'
        return PROPERTIES.format(
            port=self.port, controller=self._controller, data=data, mechanism=MECHANISM,
            scram=SCRAM, plain=PLAIN, login=login, user=USER, password=password,
        )  # fmt: skip

    def _configure(self, folder: Path) -> None:
        write_atomically(self._properties, self.properties(folder))

    def _java(self, *options: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._file('log4j2.properties')}"
        return java_command(self._classpath, logging, *options)

    @property
    def _password_file(self) -> Path:
        return self._file("password")

    @property
    def _properties(self) -> Path:
        return self._file("properties")

    def _file(self, suffix: str) -> Path:
        return self.folder.path / f"kafka.{suffix}"
