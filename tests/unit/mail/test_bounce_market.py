"""The words and numbers of others: those that they have, and none that we made up."""

import tomllib
from importlib.resources import files

from mail import bounce

CLASSES = tomllib.loads((files("mail") / "bounce_rules.toml").read_text("utf-8"))["class"]
SES = {
    "Permanent/General", "Transient/General", "Transient/MailboxFull", "Transient/MessageTooLarge",
    "Transient/ContentRejected", "Transient/AttachmentRejected", "Undetermined/Undetermined",
}  # fmt: skip
SPARKPOST = {1, 10, 20, 21, 22, 23, 24, 25, 30, 40, 50, 51, 52, 53, 54, 60, 70, 80, 90, 100}


def test_every_class_has_words_and_a_number_of_the_market() -> None:
    for name in CLASSES:
        found = bounce.class_by_name(name)
        assert f"{found.ses_type}/{found.ses_subtype}" in SES
        assert found.sparkpost in SPARKPOST


def test_what_suppresses_is_permanent_to_others_too() -> None:
    hard = {name for name in CLASSES if bounce.class_by_name(name).ses_type == "Permanent"}
    assert hard == {name for name in CLASSES if bounce.class_by_name(name).suppress_after}
    assert hard == {name for name in CLASSES if bounce.class_by_name(name).sparkpost == 10}


def test_every_class_is_reached_by_a_rule_or_named_by_the_engine() -> None:
    reached = {rule.name for rule in bounce.default()._rules}
    named = {"uncategorized", "transient_failure", "challenge_response", "subscribe", "unsubscribe"}
    assert set(CLASSES) - reached <= named
