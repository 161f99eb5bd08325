"""Whose mail a batch may have: every domain of its senders is looked up once."""

import asyncio

import pytest

from contracts.ingest.v1.directory_pb2 import ApiKey, Domain
from kernel import clock
from kernel.brand import Brands
from services.ingest.api.access import Principal
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.senders import SenderResolver, check_senders
from services.ingest.domain.email import decode_email
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.domain.valid_email import ValidEmail, validate
from tests.support.rest_api import TENANT

OWN = "shop.example"
PRINCIPAL = Principal(ApiKey(), TENANT)
NO_HOSTS = LinkHosts(lambda _: None, is_certified=False)


class SlowDirectory:
    """Knows one domain, and counts its lookups and those in progress."""

    def __init__(self) -> None:
        self.lookups = self.waiting = self.most_waiting = 0

    async def find(self, _: Principal, name: str, *, test: bool) -> Domain:
        self.lookups += 1
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        await asyncio.sleep(0)
        self.waiting -= 1
        if name == "down.example":
            raise Problem(503, "service_unavailable", detail="")
        if name != OWN:
            raise Problem(403, "invalid_from_address", detail=f"not {name}")
        return Domain(name=name)


def email(domain: str) -> ValidEmail:
    body = b'{"from": "a@%b", "to": "b@x.net", "subject": "Hi", "text": "Hi"}' % domain.encode()
    return validate(decode_body(decode_email, body), clock.now(), test=False)


async def check(directory: SlowDirectory, *domains: str) -> tuple[int, list[str]]:
    """How many emails are left of a batch, and the pointers of its faults."""
    senders = SenderResolver(directory.find, BrandResolver(Brands(), lambda _: None), NO_HOSTS)
    emails = [email(one) for one in domains]
    own, faults = await check_senders(senders, PRINCIPAL, emails, faults=[], permissive=True)
    return len(own), [one.pointer for one in faults]


async def test_the_domains_of_a_batch_are_looked_up_together_and_once() -> None:
    directory = SlowDirectory()
    foreign = [f"d{number}.example" for number in range(40)]

    left, pointers = await check(directory, OWN, *foreign, OWN, *foreign[:8])

    assert (left, len(pointers)) == (2, 48)
    assert (directory.lookups, directory.most_waiting) == (41, 41)
    assert (pointers[0], pointers[40]) == ("#/1", "#/42")


async def test_a_batch_is_not_accepted_while_the_directory_is_unavailable() -> None:
    with pytest.raises(Problem) as refused:
        await check(SlowDirectory(), OWN, "down.example", "foreign.example")
    assert refused.value.status == 503
