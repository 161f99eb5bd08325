"""What operators change about egress sources, and suspensions of whole sources."""

import pytest

from kernel.rpc import RequestError
from services.router.api.egress import address_pair, normalize_host_name
from services.router.domain.feedback import FeedbackController
from services.router.domain.feedback_rules import FeedbackAction
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.overrides import Override, OverrideApplied, ends_s
from services.router.domain.policies import egress_site_scope
from services.router.domain.policy_engine import AdaptivePolicyRules
from services.router.domain.source_states import SourceConditions, SourceState, state_of


@pytest.mark.parametrize(
    ("addresses", "pair"),
    [
        ([], ("", "")),
        (["192.0.2.1"], ("192.0.2.1", "")),
        (["2001:DB8:0::1"], ("", "2001:db8::1")),
        (["127.0.0.1", "::1"], ("127.0.0.1", "::1")),
        (["10.0.0.1", "fd00::1"], ("10.0.0.1", "fd00::1")),
        (["2001:db8::1", "192.0.2.1"], ("192.0.2.1", "2001:db8::1")),
    ],
)
def test_addresses_are_normalized(addresses: list[str], pair: tuple[str, str]) -> None:
    assert address_pair(addresses) == pair


@pytest.mark.parametrize(
    "addresses",
    [
        ["localhost"], ["192.0.2.1/32"], ["192.0.2.256"], [""], ["::ffff:192.0.2.1"],
        ["fe80::1%eth0"], ["192.0.2.1", "192.0.2.2"], ["::1", "::2"], ["::1", "2001:db8::1"],
        ["0.0.0.0"], ["::"], ["224.0.0.1"], ["ff02::1"], ["255.255.255.255"], ["240.0.0.1"],
        ["169.254.1.1"], ["fe80::1"],
    ],
)  # fmt: skip
def test_other_addresses_are_refused(addresses: list[str]) -> None:
    with pytest.raises(RequestError) as refused:
        address_pair(addresses)
    assert refused.value.field == "addresses"


def test_an_ehlo_name_is_a_host_name() -> None:
    assert normalize_host_name("büro.example") == "xn--bro-hoa.example"
    with pytest.raises(RequestError) as refused:
        normalize_host_name("not a name")
    assert refused.value.field == "ehlo"


def test_a_suspended_source_sends_nothing_until_its_end() -> None:
    scope = LimitScope(ScopeKind.WARMUP, "e1")
    end = ends_s(FeedbackAction.SUSPEND_EGRESS, 0.0, 100.0)
    assert end == 100.0  # at once with its whole rate: nobody has refused it
    suspended = Override("o", scope, FeedbackAction.SUSPEND_EGRESS, "operator", "", 0.0, 100.0, end)
    feedback = FeedbackController([], [OverrideApplied(suspended)])
    assert (found := feedback.suspension_of(scope, 99.0))
    assert found.until_s == 100.0
    assert feedback.suspension_of(scope, 100.0) is None
    assert feedback.suspension_of(egress_site_scope("e1", "yahoo"), 50.0) is None
    assert scope.kind in feedback.kinds
    assert state_of(SourceConditions(is_suspended=True)) is SourceState.SUSPENDED


@pytest.mark.parametrize(
    "scope",
    [
        "egress_site/e/yahoo", "tenant_site/t/lab", "egress_site/e/mx.x.example", "tenant/t",
        "site/yahoo", "site/mx.x.example", "engine/",
    ],
)  # fmt: skip
def test_a_site_is_a_providers_or_of_a_static_route_or_has_a_dot(scope: str) -> None:
    rules = AdaptivePolicyRules(big_sites=["yahoo"], static_sites=["lab"])
    rules.check_site(scope)


@pytest.mark.parametrize(
    "scope", ["egress_site/e/yahooo", "tenant_site/t/", "egress_site/e", "site/yahooo"]
)
def test_another_site_is_unknown(scope: str) -> None:
    rules = AdaptivePolicyRules(big_sites=["yahoo"], static_sites=["lab"])
    with pytest.raises(ValueError, match="the site is unknown"):
        rules.check_site(scope)
