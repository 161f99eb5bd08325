"""Shaping rules: limits per site as data, changed by an operator, and their linter."""

from importlib.resources import files

import pytest

from mail.mx import site_of
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.policies import CombinedPolicies, ShapingPolicies, egress_site_scope
from services.router.domain.shaping import (
    ShapingRules,
    SiteLimits,
    lint_rules,
    parse_rules,
    parse_shaping,
)

DEFAULT = SiteLimits(400)
SHIPPED = (files("services.router") / "shaping.toml").read_text("utf-8")


def shipped(operator_text: str = "") -> ShapingRules:
    return parse_shaping(SHIPPED, default=DEFAULT, operator_text=operator_text)


def test_the_shipped_rules_cover_the_biggest_receivers() -> None:
    shaping = shipped()
    assert len(shaping.by_site) == 40
    assert shaping.of("free").in_flight_max < DEFAULT.in_flight_max
    assert shaping.of("anything.example") == DEFAULT


def test_yahoo_closes_a_connection_after_twenty_messages() -> None:
    assert shipped().of("yahoo").messages_per_connection_max == 20
    [rule] = [rule for rule in parse_rules(SHIPPED) if "yahoo" in rule.sites]
    assert "help.yahoo.com" in rule.sources["messages_per_connection_max"]


def test_a_domain_that_lists_one_strange_host_is_not_limited_like_its_provider() -> None:
    shaping = shipped()
    assert shaping.of(site_of(["mx1.comcast.net", "mx2.comcast.net"])).connections_max == 25
    assert shaping.of(site_of(["mx1.comcast.net", "mx.example.org"])) == DEFAULT


def test_an_operator_changes_one_figure_and_keeps_the_others() -> None:
    operator_text = """
    [[rule]]
    sites = ["yahoo"]
    per_hour_max = 5000
    [[rule]]
    sites = ["customer.example"]
    connections_max = 1
    """
    shaping = shipped(operator_text)
    assert shaping.of("yahoo").per_hour_max == 5000
    assert shaping.of("yahoo").messages_per_connection_max == 20
    assert shaping.of("customer.example").connections_max == 1


def test_rules_limit_an_egress_source_at_a_site_and_no_other_scope() -> None:
    shaping = ShapingPolicies(shipped())
    limits = shaping.limits_of(egress_site_scope("a", "yahoo-japan"), 0.0)
    assert limits == Limits(per_second=10, in_flight_max=40)
    sources = CombinedPolicies([shaping])
    assert sources.limits_of(egress_site_scope("a", "yahoo-japan"), 0.0) == limits
    assert sources.limits_of(LimitScope(ScopeKind.TENANT, "t"), 0.0) is NO_LIMITS
    assert shaping.suspension_of(egress_site_scope("a", "yahoo-japan"), 0.0) is None


def test_the_linter_reports_a_rule_that_no_site_can_match() -> None:
    [problem] = lint_rules(parse_rules('[[rule]]\nsites = ["gmail"]\nconnections_max = 5'))
    assert "no site is named 'gmail'" in problem
    static = lint_rules(parse_rules('[[rule]]\nsites = ["lab"]'), static_sites=["lab"])
    assert static == []


def test_the_linter_reports_invalid_rules() -> None:
    text = """
    [[rule]]
    sites = ["a.example"]
    [[rule]]
    sites = ["a.example", "B."]
    in_flight_max = 0
    [[rule]]
    sites = []
    [[rule]]
    sites = ["b.example"]
    connection_max = 1
    [rule.sources]
    per_hour_max = "somewhere"
    """
    problems = "\n".join(lint_rules(parse_rules(text)))
    assert "site 'a.example' has an earlier rule" in problems
    assert "invalid site name 'B.'" in problems
    assert "rule 2: invalid limits" in problems
    assert "rule 3 names no site" in problems
    assert "rule 4: 'connection_max' is no figure" in problems
    assert "rule 4: the source of 'per_hour_max' has no figure" in problems
    with pytest.raises(ValueError, match="rule 3"):
        parse_shaping(text, default=DEFAULT)
