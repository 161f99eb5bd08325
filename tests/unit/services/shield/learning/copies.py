"""Copies of a mail for another recipient, and whether two mails are found to be one campaign."""

import re
from random import Random

from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.learning.fingerprints import (
    CandidateCampaign,
    Fingerprint,
    campaign_keys,
    find_campaign,
    fingerprint_of,
)
from services.shield.domain.parsing import ParsingLimits, parse_message


def fingerprint(content: Content) -> Fingerprint:
    return fingerprint_of(parse_message(content, ParsingLimits()))


def are_one_campaign(one: Fingerprint, other: Fingerprint) -> bool:
    """As a store finds it: by a key, then by how much of the text is the same."""
    meet = set(campaign_keys(one)) & set(campaign_keys(other))
    return bool(meet) and find_campaign(other, [CandidateCampaign("one", one.content)]) == "one"


def personalised(content: Content, seed: int) -> Content:
    """With another greeting, other digits and other tokens in links."""
    random = Random(seed)

    def other_digits(text: str) -> str:
        text = re.sub(r"\d", lambda _: str(random.randrange(10)), text)
        return re.sub(r"(https?://[^\s\"<>?]+)", rf"\1?u={random.getrandbits(64):x}", text)

    greeting = f"Dear {random.choice(['Ada', 'Grace', 'Mary-Ann', 'Jean Pierre'])}, "
    changed = Content()
    changed.CopyFrom(content)
    if content.text:
        changed.text = greeting + other_digits(content.text)
    if content.html:
        changed.html = content.html.replace("<p", f"<p>{greeting}</p><p", 1)
    return changed
