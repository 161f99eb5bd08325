from importlib.resources import files

import pytest

from mail import machines
from mail.machines import CLICK, OPEN, Hit

SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"


def test_every_rule_is_reached_by_its_example() -> None:
    text = (files("mail") / "machines.toml").read_text("utf-8")
    assert machines.lint(machines.load_rules(text)) == []


def test_the_linter_sees_empty_and_shadowed_rules() -> None:
    rules = machines.load_rules(
        "[[rule]]\nreason='a'\n[[rule]]\nreason='b'\nuser_agent='x'\nexample='y'\n"
    )
    assert len(machines.lint(rules)) == 2


@pytest.mark.parametrize(
    ("hit", "reason"),
    [
        (Hit(OPEN, "GET", SAFARI, 60.0), None),
        (Hit(OPEN, "GET", "Mozilla/5.0", 60.0), "privacy_proxy"),
        (Hit(CLICK, "HEAD", SAFARI, 60.0), "head_request"),
        (Hit(CLICK, "GET", SAFARI, 1.0), "too_soon"),
        (Hit(CLICK, "GET", SAFARI, None), None),
        (Hit(CLICK, "GET", SAFARI, 60.0, links_within_1s=3), "burst"),
        (Hit(CLICK, "GET", SAFARI, 60.0, honeypot=True), "honeypot"),
        (Hit(CLICK, "GET", "", 60.0), "no_user_agent"),
        (Hit(CLICK, "GET", "curl/8.5", 60.0), "program"),
        (Hit(OPEN, "GET", SAFARI, 0.5), None),
    ],
)
def test_machines_are_told_from_people(hit: Hit, reason: str | None) -> None:
    assert machines.reason(hit) == reason
