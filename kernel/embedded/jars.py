"""Apache Kafka's jars: resolved once with jgo, then downloaded and checked against the lock.

`make lock` rewrites the lock; `python -m kernel.embedded` downloads the jars before the first
start.
"""

import errno
import hashlib
import os
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kernel.embedded.errors import disk_full_error
from kernel.errors import EmbeddedError

LOCK = Path(__file__).with_name("kafka.lock.toml")
# The second makes Kafka log; raw (!), so that its own dependency management is ignored.
ENDPOINT = "org.apache.kafka:kafka_2.13:4.3.1+org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!"
DOWNLOADS = 8


@dataclass(frozen=True, slots=True)
class Jar:
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def classpath(cache: Path | None = None) -> str:
    """The class path of all jars in the lock, in order; each jar has the locked hash."""
    folder = (cache or cache_folder()) / "jars"
    jars = read_lock()
    with ThreadPoolExecutor(DOWNLOADS) as pool:
        paths = list(pool.map(lambda jar: ensure_jar(jar, folder), jars))
    return os.pathsep.join(map(str, paths))


def read_lock(lock: Path = LOCK) -> Sequence[Jar]:
    entries = tomllib.loads(lock.read_text())["dependencies"]
    return [Jar(e["groupId"], e["artifactId"], e["version"], e["sha256"]) for e in entries]


def cache_folder() -> Path:
    """OBM_CACHE_DIR, or the user's cache folder."""
    if chosen := os.environ.get("OBM_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "obm"


def ensure_jar(jar: Jar, folder: Path) -> Path:
    path = folder / jar.name
    if not path.exists() or digest(path) != jar.sha256:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            download_jar(jar, path)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise disk_full_error(folder) from error
            raise download_error(jar, error) from error
    return path


def download_jar(jar: Jar, path: Path) -> None:
    """Download beside the target, check, then move: no reader sees a partial jar."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - a slow import, needed once

    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        component = MavenContext(repo_cache=Path(scratch), timeout=60)
        artifact = component.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        try:
            found = Path(artifact.resolve())
        except RuntimeError as error:
            raise download_error(jar, error) from error
        if (got := digest(found)) != jar.sha256:
            raise EmbeddedError(f"{jar.name} has SHA-256 {got}; the lock requires {jar.sha256}.")
        found.replace(path)


def download_error(jar: Jar, error: Exception) -> EmbeddedError:
    why = str(error).split("\n", 1)[0][:200] or type(error).__name__
    return EmbeddedError(
        f"Kafka's {jar.group}:{jar.artifact}:{jar.version} is not in {cache_folder()} and cannot "
        f"be downloaded ({why}). Check the network and its proxy settings, then start again."
    )


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_lock() -> None:
    """Resolve ENDPOINT and pin its dependencies: versions and hashes, no addresses."""
    from jgo.env import EnvironmentBuilder  # noqa: PLC0415 - for maintainers
    from jgo.maven import MavenContext  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as scratch:
        builder = EnvironmentBuilder(context=MavenContext(), cache_dir=Path(scratch))
        resolved = builder.from_endpoint(ENDPOINT).path / "jgo.lock.toml"
        lines = resolved.read_text().splitlines(keepends=True)
    LOCK.write_text("".join(line for line in lines if not line.startswith("generated = ")))
