"""CAA records: which count for a host, and whom they let certify it."""

import asyncio
from collections.abc import Mapping

import pytest

from kernel.resolver import system_resolver
from services.events.clients.caa import CaaResolver
from services.events.domain.caa import CaaRecord, CaaRecords, refusal
from tests.support.name_server import SERVFAIL, SILENT, name_server

HOST = "links.shop.example"
OTHERS, OURS = '0 issue "other.example"', '0 issue "CA.example; validationmethods=http-01"'


def records(*given: tuple[int, str, str]) -> CaaRecords:
    return CaaRecords("shop.example", [CaaRecord(*one) for one in given])


@pytest.mark.parametrize(
    "given",
    [
        (),
        ((0, "iodef", "mailto:a@shop.example"),),
        ((0, "issuewild", ";"),),
        ((0, "issue", "ca.example"),),
        ((0, "issue", "other.example"), (0, "issue", " CA.Example ; accounturi=https://x")),
        ((128, "issue", "ca.example"), (128, "iodef", "mailto:a@shop.example")),
        ((0, "issue", "second.example"),),
        ((0, "future", "x"),),
    ],
)
def test_an_order_leaves_where_records_allow_it(given: tuple[tuple[int, str, str], ...]) -> None:
    assert refusal(records(*given), ["ca.example", "second.example"]) == ""


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ((0, "issue", "other.example"), (0, "issue", "a.example;x=y"), (0, "issuewild", ";")),
            "The CAA records of shop.example let only a.example, other.example issue certificates."
            ' Add to them: 0 issue "ca.example"',
        ),
        (((0, "issue", ";"),), "let only nobody issue certificates"),
        (((0, "issue", ""),), "let only nobody issue certificates"),
        (((0, "issue", "ca.example.evil\0\n<b>"),), "let only nobody issue certificates"),
        (((0, "issue", "xca.example"),), "let only xca.example issue"),
        (((0, "issue", "ca.example"), (128, "future", "x")), "'future' and declare it critical"),
    ],
)
def test_a_refusal_has_the_record_to_publish(
    given: tuple[tuple[int, str, str], ...], words: str
) -> None:
    found = refusal(records(*given), ["ca.example"])
    assert words in found
    assert found.isprintable()


@pytest.mark.parametrize(
    ("published", "name", "values"),
    [
        ({}, HOST, []),
        ({HOST: {"CAA": [OURS]}, "shop.example": {"CAA": [OTHERS]}}, HOST, [OURS]),
        ({HOST: {"A": ["127.0.0.1"]}, "shop.example": {"CAA": [OTHERS]}}, "shop.example", [OTHERS]),
        ({"example": {"CAA": [OTHERS, OURS]}}, "example", [OTHERS, OURS]),
        (
            {HOST: {"CNAME": ["links.own.example."]}, "links.own.example": {"CAA": [OTHERS]}},
            "links.own.example",
            [OTHERS],
        ),
        (  # what is above the target of an alias does not count (§3)
            {
                HOST: {"CNAME": ["links.own.net."]}, "links.own.net": {"A": ["127.0.0.1"]},
                "own.net": {"CAA": [OTHERS]}, "shop.example": {"CAA": [OURS]},
            },
            "shop.example",
            [OURS],
        ),
    ],
)  # fmt: skip
async def test_the_nearest_records_count(
    published: Mapping[str, Mapping[str, list[str]]], name: str, values: list[str]
) -> None:
    async with name_server(published) as (_, address):
        found = await resolver(address).find(HOST)
    assert found is not None
    assert found.name == name
    issuers = {one.value.partition(";")[0].lower() for one in found.records}
    assert issuers == {value.split('"')[1].partition(";")[0].lower() for value in values}


@pytest.mark.parametrize("failing", [HOST, "shop.example", "example"])
@pytest.mark.parametrize("how", [SERVFAIL, {"CAA": SERVFAIL}, SILENT])
async def test_what_cannot_be_looked_up_is_not_known(
    failing: str, how: str | Mapping[str, str]
) -> None:
    async with name_server({HOST: {"A": ["127.0.0.1"]}, failing: how}) as (_, address):
        async with asyncio.timeout(10):
            assert await resolver(address, timeout_s=0.3).find(HOST) is None


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "\ud800.example"])
async def test_a_name_that_is_none_is_not_known(host: str) -> None:
    async with name_server({}) as (_, address):
        assert await resolver(address).find(host) is None


def resolver(address: str, *, timeout_s: float = 10.0) -> CaaResolver:
    return CaaResolver(system_resolver([address], timeout_s=timeout_s))
