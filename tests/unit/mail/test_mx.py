import random
from importlib.resources import files

import pytest

from mail import mx
from mail.mx import Mx


@pytest.mark.parametrize(
    ("hosts", "site"),
    [
        (["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com."], "google"),
        (["ASPMX.L.GOOGLE.COM", "aspmx2.googlemail.com"], "google"),
        (["smtp.google.com"], "google"),
        (["outlook-com.olc.protection.outlook.com"], "microsoft-consumer"),
        (["contoso-com.mail.protection.outlook.com"], "microsoft-365"),
        (["contoso-com.a-v1.mx.microsoft"], "microsoft-365"),
        (["mta5.am0.yahoodns.net", "mta6.am0.yahoodns.net"], "yahoo"),
        (["mx01.mail.icloud.com"], "apple"),
        (["mx1.example.org", "mx2.example.org"], "example.org"),
        (["mx1.example.co.uk", "mx2.example.co.uk"], "example.co.uk"),
        (["a.example.org", "b.example.net"], "example.net+example.org"),
        (["mx1.example.com.xy", "mx2.example.com.xy"], "example.com.xy"),
        (["192.0.2.1"], "192.0.2.1"),
        (["localhost"], "localhost."),
    ],
)
def test_domains_of_one_provider_are_one_site(hosts: list[str], site: str) -> None:
    assert mx.site_of(hosts) == site
    assert mx.site_of(reversed(hosts)) == site


@pytest.mark.parametrize(
    "hosts",
    [
        ["tarpit.evil.example", "x.google.com"],
        ["aspmx.l.google.com", "backup.example.org"],
        ["aspmx.l.google.com", "contoso-com.mail.protection.outlook.com"],
        ["google"],
        ["google", "google.com"],
        [*(f"mx.{'a' * 60}{n}.example" for n in range(9)), "aspmx.l.google.com"],
    ],
)
def test_listing_a_providers_hosts_does_not_give_its_site(hosts: list[str]) -> None:
    rules = mx.parse_rules((files("mail") / "sites.toml").read_text("utf-8"))
    site = mx.site_of(hosts)
    assert not {rule.site for rule in rules} & set(site.split("+"))
    assert len(site) <= 200


def test_long_mixed_sets_have_distinct_sites() -> None:
    hosts = [f"mx.{'a' * 60}{n}.example" for n in range(9)]
    assert mx.site_of(hosts) != mx.site_of([*hosts, "mx.z.example"])


def test_the_linter_reports_a_site_name_that_is_a_domain() -> None:
    [problem] = mx.lint([mx.SiteRule("big.example", ("x.example",))])
    assert problem.startswith("big.example")


def test_an_empty_mx_set_has_no_site() -> None:
    with pytest.raises(ValueError, match="an empty MX set"):
        mx.site_of([])


def test_the_rules_have_no_problems() -> None:
    text = (files("mail") / "sites.toml").read_text("utf-8")
    assert len(mx.parse_rules(text)) > 50


def test_the_domains_of_providers_are_known() -> None:
    assert {"gmail.com", "outlook.com", "web.de", "aol.com"} <= mx.provider_domains()
    assert "shop.example" not in mx.provider_domains()


def test_the_linter_reports_rules_that_never_match() -> None:
    problems = mx.lint(
        [
            mx.SiteRule("a", ("x.example",)),
            mx.SiteRule("b", ("mail.x.example",)),
            mx.SiteRule("a", ("Y.example.",)),
            mx.SiteRule("c", ()),
        ]
    )
    assert [p.partition(":")[0] for p in problems] == ["b", "a", "c", "a"]


def test_equal_preferences_are_shuffled_and_others_are_not() -> None:
    records = [Mx(20, "c.example"), Mx(10, "a.example"), Mx(10, "b.example")]
    seen = {
        tuple(r.host for r in mx.order_by_preference(records, random.Random(n).shuffle))
        for n in range(20)
    }
    assert seen == {
        ("a.example", "b.example", "c.example"),
        ("b.example", "a.example", "c.example"),
    }


def test_a_null_mx_accepts_no_mail() -> None:
    with pytest.raises(mx.NullMxError):
        mx.order_by_preference([Mx(0, ".")], lambda _: None)
    assert mx.order_by_preference([Mx(0, "."), Mx(10, "a.example")], lambda _: None) == [
        Mx(10, "a.example")
    ]


def test_our_own_mx_ends_the_list() -> None:
    records = [Mx(10, "a.example"), Mx(20, "US.example."), Mx(20, "b.example"), Mx(30, "c.example")]
    assert mx.preferred_to_own(records, frozenset({"us.example"})) == [Mx(10, "a.example")]
    assert mx.preferred_to_own(records, frozenset({"x.example"})) == records
