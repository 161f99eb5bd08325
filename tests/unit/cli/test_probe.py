"""Canaries: what counts as delivered, and what as missed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.probe import Canary, Settings, create_service, read_canaries, send
from kernel import metrics
from kernel.errors import ConfigError

CANARY = Canary("default", "key", "canary@shop.example", "canary@inbox.example")


class FakeApi:
    """states: last events, one for each look; the last one stays."""

    def __init__(self, *states: str) -> None:
        self._states = list(states)
        self.sent: list[Mapping[str, object]] = []

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        assert path == "/emails"
        if not self._states:
            raise ConfigError("The API does not respond.")
        self.sent.append(body)
        return {"id": "1"}

    def get(self, path: str) -> dict[str, Any]:
        assert path == "/emails/1"
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return {"last_event": state}


def settings(**given: Any) -> Settings:  # noqa: ANN401
    return Settings(**{"poll_interval_s": 0.001, **given})


def count(outcome: str) -> float:
    labels = {"canary": "default", "outcome": outcome}
    return metrics.registry.get_sample_value("obm_probe_canaries_total", labels) or 0.0


async def test_a_canary_is_delivered() -> None:
    api, before = FakeApi("queued", "sent", "delivered"), count("delivered")
    assert await send(api, CANARY, settings())
    assert count("delivered") == before + 1
    assert api.sent[0]["from"] == "canary@shop.example"
    assert api.sent[0]["to"] == ["canary@inbox.example"]


@pytest.mark.parametrize("states", [("sent", "bounced"), ("held",), (), ("queued",)])
async def test_a_canary_is_missed(
    states: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Refused by the receiver, held, not accepted, or not in time."""
    before = count("missed")
    assert not await send(FakeApi(*states), CANARY, settings(timeout_s=0.05))
    assert count("missed") == before + 1
    assert "probe.missed" in caplog.text


def test_each_table_of_the_file_is_a_canary(tmp_path: Path) -> None:
    file = tmp_path / "canaries.toml"
    file.write_text('[one]\nkey = "k"\nfrom = "a@x.example"\nto = "b@y.example"\n')
    assert read_canaries(str(file)) == [Canary("one", "k", "a@x.example", "b@y.example")]
    assert create_service(settings(file=str(file))).name == "probe"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has no canary"),
        ("[one]\nkey = 1\nfrom = 'a'\nto = 'b'", "the texts key, from and to"),
        ("[one]\nkey = 'k'", "The canary one"),
        ("one = 1", "The canary one"),
        ("[", "Cannot read PROBE_FILE"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "canaries.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read_canaries(str(file))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="PROBE_FILE ''"):
        read_canaries("")
