"""The classes of SES and SparkPost that ours map to exist."""

import tomllib
from importlib.resources import files

from mail import bounce

CLASSES = tomllib.loads((files("mail") / "bounce_rules.toml").read_text("utf-8"))["class"]
SES = {
    "Permanent/General", "Transient/General", "Transient/MailboxFull", "Transient/MessageTooLarge",
    "Transient/ContentRejected", "Transient/AttachmentRejected", "Undetermined/Undetermined",
}  # fmt: skip
SPARKPOST = {1, 10, 20, 21, 22, 23, 24, 25, 30, 40, 50, 51, 52, 53, 54, 60, 70, 80, 90, 100}


def test_every_class_has_an_ses_and_sparkpost_class() -> None:
    for name in CLASSES:
        found = bounce.class_by_name(name)
        assert f"{found.ses_type}/{found.ses_subtype}" in SES
        assert found.sparkpost in SPARKPOST


def test_suppressing_classes_are_permanent_at_ses_and_sparkpost() -> None:
    hard = {name for name in CLASSES if bounce.class_by_name(name).ses_type == "Permanent"}
    assert hard == {name for name in CLASSES if bounce.class_by_name(name).suppress_after}
    assert hard == {name for name in CLASSES if bounce.class_by_name(name).sparkpost == 10}


def test_every_class_has_a_rule_or_is_used_by_the_engine() -> None:
    reached = {rule.name for rule in bounce.default_classifier()._rules}
    named = {"uncategorized", "transient_failure", "challenge_response", "subscribe", "unsubscribe"}
    assert set(CLASSES) - reached <= named
