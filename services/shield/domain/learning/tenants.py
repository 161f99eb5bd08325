"""What a tenant has sent so far: how far it is trusted, and how much its outcomes teach."""

from math import log
from typing import NamedTuple

PRIOR_DELIVERED = 1_000  # and one complaint: the record of a tenant that nobody knows
USUAL = 0.001  # complaints per delivery
LOG_ODDS_MAX = 3.0
DELIVERED_MAX = 1_000_000  # then the record is halved, so that the latest mail counts
TRUSTED_LOG_ODDS, TRUSTED_CAMPAIGNS = -1.0, 5
CAMPAIGNS_HALF = 20  # after which an outcome of a tenant counts half


class TenantReputation(NamedTuple):
    """complaints: as they were weighed, in thousandths. released, held: campaigns."""

    delivered: int = 0
    complaints: int = 0
    released: int = 0
    held: int = 0


def add_mail(record: TenantReputation, delivered: int, complaints: int) -> TenantReputation:
    record = record._replace(
        delivered=max(0, record.delivered + delivered),
        complaints=max(0, record.complaints + complaints),
    )
    if record.delivered <= DELIVERED_MAX:
        return record
    return record._replace(delivered=record.delivered // 2, complaints=record.complaints // 2)


def log_odds(record: TenantReputation) -> float:
    """Of abuse, against a tenant with the usual complaints; 0 if nobody knows it."""
    rate = (record.complaints / 1_000 + 1) / (record.delivered + PRIOR_DELIVERED)
    return max(-LOG_ODDS_MAX, min(LOG_ODDS_MAX, log(rate / USUAL)))


def is_trusted(record: TenantReputation) -> bool:
    """Many campaigns, few complaints, and hardly any campaign held."""
    enough = record.released >= TRUSTED_CAMPAIGNS + 10 * record.held
    return enough and log_odds(record) <= TRUSTED_LOG_ODDS


def weight(record: TenantReputation) -> float:
    """How much a campaign of this tenant teaches: nobody teaches alone."""
    return 1 / (1 + (record.released + record.held) / CAMPAIGNS_HALF)
