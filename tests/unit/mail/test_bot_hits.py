from importlib.resources import files

import pytest

from mail import bot_hits
from mail.bot_hits import CLICK, OPEN, TrackingHit

SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"


def test_every_rule_matches_its_example() -> None:
    text = (files("mail") / "machines.toml").read_text("utf-8")
    assert bot_hits.lint(bot_hits.parse_rules(text)) == []


def test_the_linter_reports_empty_and_shadowed_rules() -> None:
    rules = bot_hits.parse_rules(
        "[[rule]]\nreason='a'\n[[rule]]\nreason='b'\nuser_agent='x'\nexample='y'\n"
    )
    assert len(bot_hits.lint(rules)) == 2


@pytest.mark.parametrize(
    ("hit", "reason"),
    [
        (TrackingHit(OPEN, "GET", SAFARI, 60.0), None),
        (TrackingHit(OPEN, "GET", "Mozilla/5.0", 60.0), "privacy_proxy"),
        (TrackingHit(CLICK, "HEAD", SAFARI, 60.0), "head_request"),
        (TrackingHit(CLICK, "GET", SAFARI, 1.0), "too_soon"),
        (TrackingHit(CLICK, "GET", SAFARI, None), None),
        (TrackingHit(CLICK, "GET", SAFARI, 60.0, links_within_1s=3), "burst"),
        (TrackingHit(CLICK, "GET", SAFARI, 60.0, honeypot=True), "honeypot"),
        (TrackingHit(CLICK, "GET", "", 60.0), "no_user_agent"),
        (TrackingHit(CLICK, "GET", "curl/8.5", 60.0), "program"),
        (TrackingHit(OPEN, "GET", SAFARI, 0.5), None),
    ],
)
def test_hits_of_machines_are_distinguished_from_those_of_people(
    hit: TrackingHit, reason: str | None
) -> None:
    rule = bot_hits.matching_rule(hit)
    assert (rule.reason if rule else None) == reason
