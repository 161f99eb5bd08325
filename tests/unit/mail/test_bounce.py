from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import bounce
from mail.bounce import BounceAction

RULES = (files("mail") / "bounce_rules.toml").read_text("utf-8")


def test_every_rule_matches_its_example_and_none_is_shadowed() -> None:
    assert bounce.lint(bounce.parse_rules(RULES)) == []


def test_the_linter_reports_shadowed_and_unused_rules() -> None:
    ruleset = bounce.parse_rules(RULES)
    shadowed = bounce.BounceRule("spam_content", "user unknown", "550 5.1.1 user unknown")
    useless = bounce.BounceRule("spam_content", "never said", "")
    wrong = bounce.BounceRule("spam_content", "abc", "xyz")
    rules = bounce.BounceRuleSet(ruleset.classes, (*ruleset.rules, shadowed, useless, wrong))
    problems = bounce.lint(rules, [(550, "", "something else")])
    assert len(problems) == 3
    assert "shadowed" in problems[0]
    assert "matches nothing" in problems[1]
    assert "does not match its example" in problems[2]


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "name"),
    [
        (
            550,
            "5.1.1",
            "The email account that you tried to reach does not exist.",
            "invalid_recipient",
        ),
        (550, "", "No such user here", "invalid_recipient"),
        (550, "", "User unknown", "invalid_recipient"),
        (
            550,
            "5.1.1",
            "<x@y.example>: Recipient address rejected: User unknown in virtual table",
            "invalid_recipient",
        ),
        (
            550,
            "5.4.1",
            "Recipient address rejected: Access denied. [x.outlook.com]",
            "invalid_recipient",
        ),
        (
            550,
            "5.1.10",
            "RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
            "invalid_recipient",
        ),
        (
            550,
            "5.2.1",
            "The email account that you tried to reach is disabled.",
            "inactive_mailbox",
        ),
        (552, "5.2.2", "The email account that you tried to reach is over quota", "quota_issues"),
        (452, "4.2.2", "The email account that you tried to reach is over quota", "quota_issues"),
        (550, "5.1.2", "Host unknown", "bad_domain"),
        (556, "5.1.10", "Recipient domain has null MX", "bad_domain"),
        (
            550,
            "5.7.1",
            "Service unavailable, Client host [192.0.2.1] blocked using Spamhaus",
            "spam_block",
        ),
        (
            421,
            "4.7.0",
            "[TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints",
            "spam_block",
        ),
        (
            550,
            "5.7.26",
            "Unauthenticated email is not accepted due to DMARC policy",
            "authentication_failed",
        ),
        (
            550,
            "5.7.515",
            "Access denied, sending domain does not meet the level",
            "authentication_failed",
        ),
        (
            421,
            "4.7.28",
            "Our system has detected an unusual rate of unsolicited mail",
            "rate_limited",
        ),
        (
            450,
            "4.2.0",
            "Recipient address rejected: Greylisted, see http://postgrey.example",
            "greylisted",
        ),
        (554, "5.7.1", "Relay access denied", "relay_denied"),
        (552, "5.3.4", "Message size exceeds fixed limit", "message_too_large"),
        (550, "5.7.1", "This message was identified as spam", "spam_content"),
        (554, "5.4.6", "Too many hops", "routing_errors"),
        (553, "5.1.8", "Domain of sender address does not exist", "invalid_sender"),
        (450, "4.1.1", "User unknown in virtual alias table", "transient_failure"),
        (550, "", "No.", "uncategorized"),
        (550, "5.0.0", "", "uncategorized"),
        (451, "", "", "transient_failure"),
    ],
)
def test_replies_of_providers_have_the_right_class(
    code: int, enhanced: str, text: str, name: str
) -> None:
    assert bounce.classify(code, enhanced, text).name == name


CODES = st.integers(500, 599).filter(lambda code: code != 556)  # that of a null MX (RFC 7504)


@given(CODES, st.text(st.characters(exclude_categories=["L"]), max_size=60))
def test_a_code_alone_never_suppresses(code: int, text: str) -> None:
    verdict = bounce.classify(code, "", text)
    assert verdict.action is not BounceAction.SUPPRESS


@given(st.integers(400, 499), st.text(max_size=80))
def test_a_temporary_refusal_never_suppresses(code: int, text: str) -> None:
    verdict = bounce.classify(code, "4.1.1", f"user unknown {text}")
    assert verdict.action is not BounceAction.SUPPRESS


def test_a_name_inside_an_address_is_not_a_reason() -> None:
    refusal = "<no-such-user@spamhaus.example>: On hold by operator"
    assert bounce.classify(550, "", refusal).action is not BounceAction.SUPPRESS


def test_unknown_user_after_data_comes_from_a_filter() -> None:
    assert bounce.classify(550, "", "Unknown user x", command="DATA").name == "recipient_filter"
    assert bounce.classify(550, "5.1.1", "Unknown user x", command="DATA").suppress_after == 1
    assert bounce.classify(550, "5.2.1", "User unknown").name == "recipient_filter"
    assert bounce.classify(550, "5.2.1", "User unknown", command="RCPT").name == "invalid_recipient"


def test_octets_that_are_not_text_are_classified() -> None:
    assert bounce.classify(550, "", "user \udcff unknown \ud800").name == "invalid_recipient"


def test_only_three_classes_suppress() -> None:
    classes = bounce.parse_rules(RULES).classes.values()
    assert {c.name: c.suppress_after for c in classes if c.suppress_after} == {
        "invalid_recipient": 1,
        "inactive_mailbox": 2,
        "bad_domain": 3,
    }


def test_classes_map_to_those_of_ses_and_sparkpost() -> None:
    verdict = bounce.class_by_name("invalid_recipient")
    assert (verdict.ses_type, verdict.ses_subtype, verdict.sparkpost) == (
        "Permanent",
        "General",
        10,
    )


def test_equal_refusals_normalize_to_one_text() -> None:
    one = bounce.normalize_diagnostic(
        "550 <a@b.example> blocked 192.0.2.1 see https://x.example/?id=1 q9Ab3dE5f7"
    )
    two = bounce.normalize_diagnostic(
        "550 <c@d.example> blocked 192.0.2.77 see https://x.example/?id=2 z1Yx3wV5u8"
    )
    assert one == two == "550 <address> blocked <ip> see <url> <id>"


def test_a_rule_with_an_unknown_class_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown class"):
        bounce.parse_rules(RULES + "\n[[rule]]\nclass = 'x'\n[rule.patterns]\n'a' = 'a'\n")


@pytest.mark.parametrize(
    ("code", "enhanced", "text", "name"),
    [
        (
            554,
            "5.7.1",
            "<a@b.example>: Recipient address rejected: Access denied",
            "policy_related",
        ),
        (
            550,
            "5.4.1",
            "Recipient address rejected: Access denied. [x.example]",
            "invalid_recipient",
        ),
        (
            550,
            "5.7.1",
            "TRANSPORT.RULES.RejectMessage; the message was rejected by organization policy",
            "policy_related",
        ),
    ],
)
def test_a_policy_refusal_is_distinguished_from_an_unknown_recipient(
    code: int, enhanced: str, text: str, name: str
) -> None:
    verdict = bounce.classify(code, enhanced, text, command="RCPT")

    assert verdict.name == name
    assert verdict.action not in (BounceAction.RETRY, BounceAction.SLOW_DOWN)
    assert bool(verdict.suppress_after) == (name == "invalid_recipient")
