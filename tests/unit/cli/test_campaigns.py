"""`obm campaigns` and `obm learned-versions`, as an operator reads them."""

from typing import Any

import pytest

from cli import campaigns, learned_versions

CAMPAIGN: dict[str, Any] = {
    "id": "01a21f53-ad5c-7000-a887-e3ae6b8f8810",
    "tenant_id": "01a21f52-0000-7000-8000-a927e0b39705",
    "created_at": "2026-11-27T23:25:03.100Z",
    "screened": 40_000,
    "delivered": 2_640,
    "complaints": 10.05,
    "held": 37_360,
    "assessment": "held",
    "evidence": 5.94,
    "allowance": 3_000,
}
VERSION: dict[str, Any] = {
    "id": "1-53aba45d+4ae372ea",
    "role": "shadow",
    "published_at": "2026-11-28T05:41:17.402Z",
    "due_at": None,
    "campaigns": 214,
    "auc": 0.9988,
    "fpr": 0.005,
    "change": None,
    "reviewed_by": None,
    "reason": None,
}


def test_a_campaign_is_a_row() -> None:
    assert campaigns.row_of(CAMPAIGN)[2:] == (
        "2026-11-27 23:25", "40,000", "2,640", "10.1", "37,360", "held", "5.9", "3,000",
    )  # fmt: skip
    unknown = {"held": None, "assessment": None, "evidence": None, "allowance": None}
    assert campaigns.row_of({**CAMPAIGN, **unknown})[6:] == ("?", "", "", "no limit")


def test_a_version_is_a_row() -> None:
    assert learned_versions.row_of(VERSION) == (
        "1-53aba45d+4ae372ea", "shadow", "2026-11-28 05:41", "", "214", "0.9988", "0.50%", "", "",
        "",
    )  # fmt: skip


def test_a_version_is_reviewed_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Recording:
        def post(self, path: str, body: dict[str, str]) -> None:
            calls.append((path, body))

    monkeypatch.setattr(learned_versions, "open_api", Recording)
    learned_versions.withdraw("1-5+4", reason="it holds receipts")
    learned_versions.promote("1-5+4", reason="a wave of phishing")
    assert calls == [
        ("/shield/versions/1-5%2B4/withdraw", {"reason": "it holds receipts"}),
        ("/shield/versions/1-5%2B4/promote", {"reason": "a wave of phishing"}),
    ]
