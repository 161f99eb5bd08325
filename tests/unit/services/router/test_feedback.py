"""Replies of receivers become overrides that end by themselves."""

from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED as DELIVERED
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_PERMANENT as PERMANENT
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_STALE as STALE
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_TEMPORARY as TEMPORARY
from services.router.domain.feedback import (
    FeedbackController,
    concerns_sender,
    is_of_site,
    retry_hint_s,
)
from services.router.domain.feedback_rules import (
    FeedbackAction,
    lint_feedback_rules,
    parse_complaint_sites,
    parse_feedback_rules,
)
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.overrides import RESTORE_SHARES, OverrideApplied, Overrides
from services.router.domain.policies import egress_site_scope
from services.router.domain.reasons import WaitReason
from services.router.domain.results import ObservedResult
from services.router.domain.shaping import provider_sites

RULES = parse_feedback_rules((files("services.router") / "feedback.toml").read_text("utf-8"))
TSS04 = "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume"
HOUR_S = 3600.0
YAHOO = egress_site_scope("ip", "yahoo")


def refusal(
    text: str,
    *,
    at_s: float = 1000.0,
    site: str = "yahoo",
    host: str = "mta5.am0.yahoodns.net",
    bounce_class: str = "spam_block",
    count: int = 1,
) -> ObservedResult:
    return ObservedResult(
        "tenant",
        site,
        "ip",
        host,
        at_s - 1,
        at_s,
        connected=True,
        outcome=TEMPORARY,
        bounce_class=bounce_class,
        reply_text=text,
        count=count,
    )


def delivered(count: int, at_s: float) -> ObservedResult:
    return refusal("", at_s=at_s, count=count)._replace(outcome=DELIVERED, bounce_class="")


def test_yahoos_second_complaint_reply_suspends_the_source_at_yahoo_for_two_hours() -> None:
    feedback = FeedbackController(RULES)
    assert feedback.record([refusal(TSS04, at_s=1000.0)], 1001.0) == []
    [event] = feedback.record([refusal(TSS04, at_s=1010.0)], 1011.0)
    assert isinstance(event, OverrideApplied)
    assert (event.override.rule, event.override.scope) == ("yahoo-complaints", YAHOO)
    suspension = feedback.suspension_of(YAHOO, 1011.0)
    assert suspension
    assert suspension.until_s == 1010.0 + 2 * HOUR_S
    assert suspension.reason is WaitReason.OVERRIDE
    assert "temporarily deferred" in event.override.reason
    assert feedback.suspension_of(egress_site_scope("other", "yahoo"), 1011.0) is None


def test_replies_that_are_too_far_apart_trigger_nothing() -> None:
    feedback = FeedbackController(RULES)
    for hour in range(5):
        at_s = 1000.0 + hour * 1.1 * HOUR_S
        assert feedback.record([refusal(TSS04, at_s=at_s)], at_s) == []


def test_after_a_suspension_the_rate_returns_in_steps_from_a_canary() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([delivered(6_000, 900.0), refusal(TSS04, count=2)], 1001.0)
    [override] = feedback.overrides(1001.0)
    step_s = (override.ends_s - override.until_s) / len(RESTORE_SHARES)
    rates = [
        feedback.limits_of(YAHOO, override.until_s + step * step_s).per_minute
        for step in range(len(RESTORE_SHARES))
    ]
    assert rates == [6, 21, 51]  # 5, 20 and 50 % of 6,002 an hour
    assert feedback.limits_of(YAHOO, override.ends_s) is NO_LIMITS


def test_a_rule_that_triggers_again_soon_lasts_twice_as_long() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([refusal(TSS04, count=2)], 1001.0)
    again_s = 1000.0 + 2 * HOUR_S + 60
    feedback.record([refusal(TSS04, at_s=again_s, count=2)], again_s)
    suspension = feedback.suspension_of(YAHOO, again_s)
    assert suspension
    assert suspension.until_s == again_s + 4 * HOUR_S


def test_a_shorter_suspension_does_not_end_a_longer_one() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([refusal(TSS04, count=2)], 1001.0)
    hint = refusal("try again in 5 minutes", at_s=1010.0, bounce_class="rate_limited")
    blocked = refusal("blocked", at_s=1010.0, count=9)._replace(assigned_s=1005.0)
    feedback.record([hint, blocked], 1011.0)
    suspension = feedback.suspension_of(YAHOO, 1011.0)
    assert suspension
    assert suspension.until_s >= 1000.0 + 2 * HOUR_S


def test_replies_to_mail_that_was_assigned_before_an_override_do_not_prolong_it() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([refusal(TSS04, count=2)], 1001.0)
    late = refusal(TSS04, at_s=1030.0, count=50)._replace(assigned_s=999.0)
    assert feedback.record([late], 1031.0) == []


def test_a_reply_that_arrives_when_its_override_would_have_ended_does_nothing() -> None:
    feedback = FeedbackController(RULES)
    assert feedback.record([refusal(TSS04, count=2)], 1000.0 + 2 * HOUR_S) == []


@pytest.mark.parametrize(
    "result",
    [
        refusal(TSS04, count=9)._replace(connected=False),
        refusal(TSS04, count=9)._replace(outcome=STALE),
        refusal(TSS04, count=9, host="mx.tarpit.example"),
        refusal(TSS04, count=9, host=""),
        refusal("550 5.1.1 no such user", count=99, bounce_class="invalid_recipient"),
    ],
    ids=["no connection", "stale", "host of somebody else", "no host", "about the recipient"],
)
def test_what_is_not_a_refusal_of_the_sender_by_the_site_changes_nothing(
    result: ObservedResult,
) -> None:
    assert not concerns_sender(result)
    assert FeedbackController(RULES).record([result], 1001.0) == []


@pytest.mark.parametrize(
    ("host", "site", "belongs"),
    [
        ("mta5.am0.yahoodns.net", "yahoo", True),
        ("mx.example.org", "yahoo", False),
        ("mta5.am0.yahoodns.net", "google", False),
        ("mx.example.org", "example.org", True),
        ("mta5.am0.yahoodns.net", "example.org+yahoodns.net", False),
        ("127.0.0.9", "lab", True),
    ],
)
def test_a_host_counts_for_its_own_site(host: str, site: str, *, belongs: bool) -> None:
    assert is_of_site(host, site) is belongs


def test_microsofts_connection_limit_leaves_one_connection() -> None:
    feedback = FeedbackController(RULES)
    text = "The mail server [192.0.2.1] has exceeded the maximum number of connections. (S3115)"
    host = "hotmail-com.olc.protection.outlook.com"
    reply = refusal(
        text, site="microsoft-consumer", host=host, bounce_class="rate_limited", count=2
    )
    feedback.record([reply], 1001.0)
    scope = egress_site_scope("ip", "microsoft-consumer")
    assert feedback.limits_of(scope, 1001.0) == Limits(in_flight_max=1)
    assert feedback.limits_of(scope, 1000.0 + HOUR_S) is NO_LIMITS


def test_content_suspends_its_tenant_at_the_site_and_nobody_else() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([refusal("spam", bounce_class="spam_content", count=20)], 1001.0)
    assert feedback.suspension_of(LimitScope(ScopeKind.TENANT_SITE, "tenant/yahoo"), 1001.0)
    assert feedback.suspension_of(YAHOO, 1001.0) is None


def test_malware_pauses_its_tenant() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([refusal("virus found", bounce_class="virus_related", count=5)], 1001.0)
    suspension = feedback.suspension_of(LimitScope(ScopeKind.TENANT, "tenant"), 1001.0)
    assert suspension
    assert suspension.until_s == 1000.0 + 24 * HOUR_S


@pytest.mark.parametrize(
    ("text", "hint_s"),
    [
        ("421 try again in 5 minutes", 300.0),
        ("450 4.2.0 Please try again in 300 seconds", 300.0),
        ("greylisted, retry after 30s", 30.0),
        ("please wait at least 2 hours", 7200.0),
        ("421 too many connections, try again later", None),
        ("limit of 20 messages per 5 minutes", None),
    ],
)
def test_a_delay_that_the_receiver_names_is_read(text: str, hint_s: float | None) -> None:
    assert retry_hint_s(text) == hint_s


def test_a_named_delay_is_heeded_for_a_limited_source_and_not_for_a_greylisted_message() -> None:
    feedback = FeedbackController(RULES)
    text = "rate limit exceeded, try again in 30 minutes"
    greylisted = refusal(text, bounce_class="greylisted")
    assert feedback.record([greylisted], 1001.0) == []
    feedback.record([refusal(text, bounce_class="rate_limited")], 1001.0)
    suspension = feedback.suspension_of(YAHOO, 1001.0)
    assert suspension
    assert suspension.until_s == 1000.0 + 1800.0


def test_an_operator_removes_an_override() -> None:
    feedback = FeedbackController(RULES)
    feedback.record([refusal(TSS04, count=2)], 1001.0)
    [override] = feedback.overrides(1001.0)
    feedback.remove(override.override_id, removed_by="ann", now_s=1002.0)
    assert feedback.suspension_of(YAHOO, 1002.0) is None
    with pytest.raises(KeyError):
        feedback.remove(override.override_id, removed_by="ann", now_s=1003.0)


def test_sites_with_a_loop_by_domain_report_complaints() -> None:
    shipped = (files("services.router") / "feedback.toml").read_text("utf-8")
    sites, by_domain = parse_complaint_sites(shipped)
    assert by_domain == {"yahoo"}
    assert by_domain < sites <= provider_sites()
    assert parse_complaint_sites("") == (frozenset(), frozenset())
    with pytest.raises(ValueError, match="complaint_domain_sites names google"):
        parse_complaint_sites('complaint_domain_sites = ["google"]')


def test_the_linter_reports_rules_that_never_match_or_never_end() -> None:
    text = """
    [[rule]]
    name = "a"
    action = "suspend_site"
    sites = ["gmail"]
    pattern = "unusual rate"
    example = "something else"
    duration_s = 60
    source = "x"
    [[rule]]
    name = "a"
    action = "slow_down"
    classes = ["no_such_class"]
    [[rule]]
    name = "b"
    action = "pause_tenant"
    duration_s = 60
    pattern = "("
    """
    with pytest.raises(ValueError, match="no site is named gmail") as raised:
        parse_feedback_rules(text)
    for part in (
        "does not match its example",
        "two rules have this name",
        "no bounce class is named no_such_class",
        "set threshold",
        "`per_minute` belongs",
        "not an RE2 pattern",
        "set `source`",
    ):
        assert part in str(raised.value)
    assert lint_feedback_rules(RULES) == []


replies = st.lists(
    st.tuples(
        st.sampled_from(
            [
                (TSS04, "spam_block"),
                ("[TS03] All messages will be permanently deferred", "spam_block"),
                ("too many connections, slow down", "rate_limited"),
                ("try again in 90 minutes", "rate_limited"),
                ("blocked", "spam_block"),
                ("virus", "virus_related"),
            ]
        ),
        st.integers(1, 30),
        st.floats(0, 30 * HOUR_S),
        st.floats(0, 2 * HOUR_S),
    ),
    max_size=30,
)
SCOPES = (
    YAHOO,
    LimitScope(ScopeKind.TENANT, "tenant"),
    LimitScope(ScopeKind.TENANT_SITE, "tenant/yahoo"),
)


@given(replies)
@settings(max_examples=80, deadline=None)
def test_no_override_outlives_its_end(
    replies: list[tuple[tuple[str, str], int, float, float]],
) -> None:
    feedback, now_s, events = FeedbackController(RULES), 0.0, []
    for (text, bounce_class), count, passed_s, late_s in replies:
        now_s += passed_s
        at_s = max(now_s - late_s, 0.0)
        events += feedback.record(
            [refusal(text, at_s=at_s, bounce_class=bounce_class, count=count)], now_s
        )
    ends = [e.override.ends_s for e in events if isinstance(e, OverrideApplied)]
    for event in events:
        assert isinstance(event, OverrideApplied)
        override = event.override
        assert override.until_s <= override.from_s + 24 * HOUR_S
        assert override.until_s <= override.ends_s <= override.until_s + 6 * HOUR_S
    after_s = max(ends, default=now_s)
    for scope in SCOPES:
        assert feedback.limits_of(scope, after_s) is NO_LIMITS
        assert feedback.suspension_of(scope, after_s) is None
    assert feedback.overrides(after_s) == []
    replayed = Overrides(events)
    for scope in SCOPES:
        assert replayed.limits_of(scope, now_s) == feedback.limits_of(scope, now_s)
        assert replayed.suspension_of(scope, now_s) == feedback.suspension_of(scope, now_s)


def test_memory_is_given_back_when_receivers_are_content_again() -> None:
    feedback = FeedbackController(RULES)
    for number in range(500):
        site = f"s{number}.example"
        reply = refusal("blocked", site=site, host=f"mx.{site}", count=9)
        feedback.record([reply._replace(outcome=PERMANENT)], 1001.0)
    assert len(feedback.overrides(1001.0)) == 500
    feedback.record([delivered(1, 10 * 24 * HOUR_S)], 10 * 24 * HOUR_S)
    assert len(feedback._overrides._by_scope) == 0
    assert len(feedback._hits._hits) == 0
    assert len(feedback._rates) == 1


def test_actions_are_all_used_by_a_rule_or_by_operators() -> None:
    assert {rule.action for rule in RULES} | {FeedbackAction.SUSPEND_EGRESS} == set(FeedbackAction)
