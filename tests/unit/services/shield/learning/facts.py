"""Facts of made campaigns, in an order that a seed decides."""

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import numpy as np

from bench.shield_model.canaries import weighed
from bench.shield_model.made import made_mail
from services.shield.domain.learning.canaries import read_canaries
from services.shield.domain.learning.entries import Learned, pack_learned
from services.shield.domain.learning.facts import (
    CampaignStarted,
    Fact,
    MessageOutcome,
    OutcomeKind,
    TimePassed,
)
from services.shield.domain.learning.versions import CanaryCheck
from tests.unit.services.shield.samples import packed_model, scorer

HOUR_S = 3_600.0


@cache
def baseline() -> CanaryCheck:
    return CanaryCheck.of(scorer().model, read_canaries(packed_model()))


@cache
def made() -> list[tuple[bool, float, Learned]]:
    """Whether it is bad, margin and entries of made mail."""
    return [(bad, *weighed(scorer(), content)) for _, bad, content in made_mail(88, seed=5)]


def started(
    campaign_id: str = "c",
    *,
    tenant_id: str = "t",
    margin: float = 0.0,
    entries: bytes = b"",
    traces: tuple[str, ...] = (),
    at_s: float = 0.0,
) -> CampaignStarted:
    return CampaignStarted(campaign_id, tenant_id, margin, entries, traces, at_s)


def outcome(
    kind: OutcomeKind,
    *,
    campaign_id: str = "c",
    tenant_id: str = "t",
    recipient: str = "",
    domain: str = "large.example",
    large: bool = True,
    at_s: float = 0.0,
    count: int = 1,
) -> MessageOutcome:
    digest = recipient.encode()
    return MessageOutcome("m", tenant_id, campaign_id, kind, digest, domain, large, at_s, count)


def history(seed: int, *, campaigns: int = 50, tenants: int = 12) -> Iterator[list[Fact]]:
    """What was recorded, a list per offset."""
    random, mails, now_s = Random(seed), made(), 1e9
    for number in range(campaigns):
        bad, margin, entries = random.choice(mails)
        tenant_id, campaign_id = f"t{random.randrange(tenants)}", f"c{number}"
        trace = f"links:{random.randrange(20)}"
        packed = pack_learned(entries) if random.random() < 0.95 else b""
        yield [started(campaign_id, tenant_id=tenant_id, margin=margin, entries=packed,
                       traces=(trace,), at_s=now_s)]  # fmt: skip
        kinds = [OutcomeKind.COMPLAINED] * random.randrange(12 if bad else 2)
        kinds += random.sample([*OutcomeKind], 2)
        for kind in kinds:
            now_s += random.random() * HOUR_S
            recipient = f"r{random.randrange(200)}"
            of: dict[str, Any] = {"campaign_id": campaign_id, "tenant_id": tenant_id, "at_s": now_s}
            large = random.random() < 0.7
            report = outcome(kind, recipient=recipient, large=large, **of)
            sent = outcome(OutcomeKind.DELIVERED, count=random.randrange(1, 600), **of)
            yield [sent, report]
        now_s += random.choice([0.1, 1.0, 8.0]) * HOUR_S
        yield [TimePassed(now_s)]


def some_entries(*numbers: int) -> bytes:
    return pack_learned(np.array(numbers, np.uint32))
