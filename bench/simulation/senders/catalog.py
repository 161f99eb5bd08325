"""The senders of the simulation, by name."""

from collections.abc import Mapping
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any

from bench.simulation.parameters import World, read
from bench.simulation.run import MakeSender
from bench.simulation.senders.engine import Engine
from bench.simulation.senders.model import Model, Sender
from services.router.domain.ramps import Ramp, parse_ramps

OURS = "ours"
PEERS = ("naive", "postal", "kumomta", "kumomta-ramped", "sparkpost")


@lru_cache(maxsize=1)
def peers() -> dict[str, Any]:
    return read("peers.toml")


@lru_cache(maxsize=1)
def ramps() -> Mapping[str, Ramp]:
    return parse_ramps((files("services.router") / "ramps.toml").read_text("utf-8"))


def make_peer(name: str, world: World, ips: int) -> Sender:
    entry = peers()[name]
    if "like" in entry:
        entry = peers()[entry["like"]] | entry
    ramp = ramps()[entry["ramp"]].stages if "ramp" in entry else ()
    return Model(world, entry, ramp, overflows=bool(ramp))


def sender_names() -> list[str]:
    return ["naive", OURS, *(name for name in PEERS if name != "naive")]


def senders() -> dict[str, MakeSender]:
    return {OURS: Engine} | {name: partial(make_peer, name) for name in PEERS}
