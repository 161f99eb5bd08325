"""Make the ahead-of-time cache (JEP 514) of the broker: the classes that a start loads, parsed and
linked. With it, a start uses half the CPU."""

import subprocess
import tempfile
from pathlib import Path

from kernel.embedded.folder import Folder
from kernel.embedded.jars import classpath
from kernel.embedded.java import aot_cache, java_command, use_aot_cache
from kernel.embedded.kafka import EmbeddedKafka
from kernel.errors import EmbeddedError

ENABLED = "-XX:AOTMode=on"  # the JVM ends with an error if it cannot use the cache


def make_aot_cache() -> None:
    """Start and stop a broker to make the cache, unless there is one that works; 20 s of CPU.

    Raises EmbeddedError and OSError.
    """
    cache = aot_cache()
    if is_usable(cache):
        return
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        made = Path(scratch) / "made.aot"
        record_start(Path(scratch), made)
        if not is_usable(made):
            raise EmbeddedError("The JVM made no cache of Kafka's classes. Kafka starts without.")
        made.replace(cache)  # a broker that starts meanwhile sees all of it or none


def is_usable(cache: Path) -> bool:
    command = java_command(classpath(), ENABLED, *use_aot_cache(cache))
    return subprocess.run([*command, "-version"], capture_output=True, check=False).returncode == 0


class RecordingKafka(EmbeddedKafka):
    """Records the classes that it loads; its JVM writes the cache when it stops."""

    stop_timeout_s = 300.0
    made: Path

    def aot_options(self) -> list[str]:
        return [f"-XX:AOTCacheOutput={self.made}"]


def record_start(data: Path, made: Path) -> None:
    folder = Folder(data)
    folder.open()
    kafka = RecordingKafka(folder)
    kafka.made = made
    try:
        kafka.start()
        kafka.stop()
    finally:
        kafka.kill()
        folder.close()
