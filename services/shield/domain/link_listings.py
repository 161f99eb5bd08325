"""What listings of a message's links and of its sender add to its score: a floor, like that of a
rule."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from contracts.shield.v1.events_pb2 import ScoreReason, Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from services.shield.domain.rulebook import Thresholds
from services.shield.domain.scoring import verdict_for_score

LINK, SENDER = "link_listed", "sender_listed"
EXPLANATIONS = {
    LINK: "A link leads to a domain or an address that a block list has.",
    SENDER: "A block list has the domain of the sender.",
}
ADVICE = "Find out why, and have it removed from the list"
REASONS_MAX = 10


class LinkListing(NamedTuple):
    """Of a name in a list. weight: in points. delist: where to be removed."""

    name: str
    blocklist: str
    meaning: str
    weight: float
    delist: str = ""


Listings = Mapping[str, Iterable[LinkListing]]  # by host, as the screening names it


def names_of(response: ScoreResponse) -> set[str]:
    """The hosts to look up for a message."""
    return {*response.link_hosts, *filter(None, [response.sender_domain])}


def add_listings(response: ScoreResponse, listings: Listings, *, with_reasons: bool) -> None:
    """Raise the score to the weight of the heaviest listing. with_reasons: also of a message that
    passes."""
    found = {LINK: [one for host in response.link_hosts for one in listings.get(host, ())]}
    found[SENDER] = list(listings.get(response.sender_domain, ()))
    reasons = [reason_of(rule, one) for rule, each in found.items() for one in dict.fromkeys(each)]
    if not reasons:
        return
    reasons.sort(key=lambda one: -one.score)
    response.score = max(response.score, reasons[0].score)
    verdict = verdict_for_score(
        response.score, Thresholds(response.hold_score, response.block_score)
    )
    response.verdict = max(response.verdict, verdict)
    if with_reasons or response.verdict != Verdict.VERDICT_PASS:
        known = [*reasons[:REASONS_MAX], *response.reasons]
        del response.reasons[:]
        response.reasons.extend(sorted(known, key=lambda one: -abs(one.score)))


def reason_of(rule: str, one: LinkListing) -> ScoreReason:
    where = f": {one.delist}" if one.delist else ""
    return ScoreReason(
        rule=rule,
        score=round(one.weight, 2),
        detail=f"{one.name} in {one.blocklist}: {one.meaning}",
        explanation=EXPLANATIONS[rule],
        advice=f"{ADVICE}{where}, or leave it out." if rule == LINK else f"{ADVICE}{where}.",
    )
