"""Block lists as data: the shipped ones, an operator's own, and what the linter finds."""

import pytest

from mail.blocklists import parse_blocklists, select, shipped
from mail.dnsbl import EntryKind, ListFailure
from mail.dnsbl_health import ListHealth

SHIPPED = parse_blocklists(shipped())
OWN = """
[[list]]
name = "ours"
zone = "bl.example"
kinds = ["ipv4", "domain"]
terms = "Ours."
[list.answers]
"127.0.0.2" = { weight = 5.0, meaning = "spam" }
"""


def test_the_usual_lists_are_known_and_none_is_queried_unless_it_is_named() -> None:
    assert {one.name for one in SHIPPED} >= {
        "spamhaus-zen", "spamhaus-dbl", "surbl", "uribl", "spamcop", "barracuda", "mailspike",
        "psbl",
    }  # fmt: skip
    assert select(SHIPPED) == []
    [psbl] = select(SHIPPED, names=["psbl"])
    assert (psbl.zone, list(psbl.kinds)) == ("psbl.surriel.com", [EntryKind.IPV4])


def test_a_key_is_part_of_the_zone() -> None:
    [public] = select(SHIPPED, names=["spamhaus-dbl"])
    assert public.zone == "dbl.spamhaus.org"
    [keyed] = select(SHIPPED, names=["spamhaus-dbl"], keys={"spamhaus": "AbC1"})
    assert keyed.zone == "abc1.dbl.dq.spamhaus.net"
    with pytest.raises(ValueError, match="no list has a key named spamhouse"):
        select(SHIPPED, names=["psbl"], keys={"spamhouse": "abc"})
    with pytest.raises(ValueError, match="the key spamhaus is not a label") as refused:
        select(SHIPPED, names=["psbl"], keys={"spamhaus": "a.secret"})
    assert "secret" not in str(refused.value)


def test_an_operator_adds_lists_and_changes_fields_of_others() -> None:
    text = OWN + '[[list]]\nname = "psbl"\nenabled = true\nzone = "psbl.mirror.example"\n'
    entries = parse_blocklists(shipped(), text)
    assert [(one.name, one.zone) for one in select(entries)] == [
        ("psbl", "psbl.mirror.example"), ("ours", "bl.example"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no list is named zen"):
        select(entries, names=["zen"])


def test_a_list_that_needs_its_key_is_refused_without_it() -> None:
    text = OWN.replace('zone = "bl.example"', 'keyed_zone = "{key}.bl.example"\nkey = "ours"')
    with pytest.raises(ValueError, match="list 'ours' needs the key 'ours'"):
        select(parse_blocklists(text))
    [one] = select(parse_blocklists(text), keys={"ours": "k1"})
    assert one.zone == "k1.bl.example"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('name = "ours"', 'name = "Our list"', "a name has letters"),
        ('zone = "bl.example"', 'zone = "BL example"', "zone: 'BL example' is not a DNS name"),
        ('zone = "bl.example"', "", "set zone or keyed_zone"),
        ('zone = "bl.example"', 'keyed_zone = "bl.example"\nkey = "k"', "with one {key}"),
        ('zone = "bl.example"', 'keyed_zone = "{key}.bl.example"', "set keyed_zone and key"),
        ('kinds = ["ipv4", "domain"]', "kinds = []", "kinds"),
        (
            'kinds = ["ipv4", "domain"]',
            'kinds = ["ipv5"]',
            r"Invalid enum value 'ipv5'.*kinds\[0\]",
        ),
        ('terms = "Ours."', "", "missing required field `terms`"),
        ('terms = "Ours."', 'terms = "Ours."\nwieght = 3', "no field .wieght"),
        ('"127.0.0.2"', '"192.0.2.1"', "192.0.2.1: a listing is an address in 127.0.0.0/8"),
        ('"127.0.0.2"', '"127.255.255.254"', "127.255.255.254: a listing is"),
        ('"127.0.0.2"', '"127.0.0"', "127.0.0: not an IPv4 address"),
        ("weight = 5.0", "weight = -1", "weight"),
        ("weight = 5.0", "weihgt = 5.0", "no field .weihgt"),
        (
            '[list.answers]\n"127.0.0.2" = { weight = 5.0, meaning = "spam" }',
            "answers = 3",
            "object",
        ),
        ("[list.answers]", "[list.bits]", "bits: 127.0.0.2: use 2, 4"),
        ('"127.0.0.2" = { weight = 5.0, meaning = "spam" }', "", "set either"),
        ('terms = "Ours."', 'terms = "Ours."\nlisted_test = "a b"', "'a b' is not a DNS name"),
        ('kinds = ["ipv4", "domain"]', 'kinds = ["ipv4"]\nlink_addresses = true', "link_addresses"),
        ("[[list]]", "[[lists]]", "and nothing else"),
        (OWN, OWN + OWN, "two lists have this name"),
    ],
)
def test_the_linter_names_what_is_wrong(old: str, new: str, problem: str) -> None:
    assert old in OWN
    with pytest.raises(ValueError, match=problem):
        parse_blocklists(OWN.replace(old, new))


def test_a_list_is_in_use_from_its_first_self_test_on_and_while_it_passes() -> None:
    [ours] = select(parse_blocklists(OWN))
    health = ListHealth([ours])
    assert health.due(0.0) == [ours]
    assert health.usable() == []
    assert health.record("ours", None, 0.0)
    assert health.usable() == [ours]
    assert (health.due(3599.0), health.due(3600.0)) == ([], [ours])
    assert not health.record("ours", None, 3600.0)
    assert health.due(3601.0) == []


def test_a_list_that_fails_is_out_of_use_and_is_tested_again_soon() -> None:
    [ours] = select(parse_blocklists(OWN))
    health = ListHealth([ours])
    health.record("ours", None, 0.0)
    assert health.record("ours", ListFailure.LISTS_EVERYTHING, 10.0)
    assert health.usable() == []
    assert not health.record("ours", ListFailure.LISTS_EVERYTHING, 20.0)
    assert (health.due(319.0), health.due(320.0)) == ([], [ours])
    assert health.record("ours", None, 320.0)
    assert health.usable() == [ours]
