"""The campaigns that this process has seen lately, by the keys of their first message.

A message with few copies costs no query. From the number that makes a campaign on, the store knows
it, for all processes.
"""

from dataclasses import dataclass

from contracts.shield.v1.events_pb2 import Fingerprint
from kernel.bounded_dict import BoundedDict
from services.shield.domain.learning import fingerprints

KEYS_MAX = 200_000  # of some 25,000 messages


@dataclass(slots=True)
class SeenCampaign:
    """campaign_id: empty until the store knows it. copies: seen, and not counted there."""

    tenant_id: str
    fingerprint: Fingerprint  # of the first message
    campaign_id: str = ""
    copies: int = 0


class CampaignIndex:
    """copies_min: the number of near-identical messages that is a campaign."""

    def __init__(self, copies_min: int) -> None:
        self._copies_min = copies_min
        self._by_key: BoundedDict[tuple[str, str], SeenCampaign] = BoundedDict(KEYS_MAX)

    def match(self, tenant_id: str, fingerprint: Fingerprint) -> SeenCampaign:
        """The campaign of a message, or what may become one."""
        keys = [(tenant_id, key) for key in keys_of(fingerprint)]
        candidates = {id(one): one for key in keys if (one := self._by_key.get(key))}
        found = fingerprints.find_campaign(
            parse(fingerprint),
            (fingerprints.CandidateCampaign(str(key), one.fingerprint.content)
             for key, one in candidates.items()),
        )  # fmt: skip
        if found is not None:
            return candidates[int(found)]
        seen = SeenCampaign(tenant_id, fingerprint)
        for key in keys:
            self._by_key[key] = seen
        return seen

    def is_campaign(self, seen: SeenCampaign, copies: int) -> bool:
        """copies: with those that are not counted yet."""
        return bool(seen.campaign_id) or copies >= self._copies_min


def keys_of(fingerprint: Fingerprint) -> list[str]:
    """Messages of a tenant that share one of these may be of one campaign."""
    return fingerprints.campaign_keys(parse(fingerprint))


def parse(found: Fingerprint) -> fingerprints.Fingerprint:
    return fingerprints.Fingerprint(found.content, found.structure, tuple(found.traces))


def to_proto(found: fingerprints.Fingerprint) -> Fingerprint:
    return Fingerprint(content=found.content, structure=found.structure, traces=found.traces)
