"""What a plan admits, decided in memory."""

from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Tenant
from kernel import clock
from kernel.prices import parse_prices
from services.ingest.api.access import Principal
from services.ingest.api.plan_admission import PlanAdmission
from services.ingest.domain.problem import Problem
from services.ingest.store.quotas import QuotaKey, QuotaUsage

PRICES = """
currency = "EUR"
[[prices]]
effective_from = 2020-01-01
[prices.plans.free]
name = "Free"
fee = "0"
features = ["api"]
quota = { month = 10, day = 5, enforcement = "hard" }
[prices.plans.smtp]
name = "Mailboxes"
fee = "0"
features = ["smtp"]
quota = { month = 10 }
[[prices]]
effective_from = 2026-12-01
[prices.plans.free]
name = "Free"
fee = "0"
features = ["api"]
[prices.plans.smtp]
name = "Mailboxes"
fee = "0"
features = ["smtp"]
"""


class Admission:
    """Of an account on a plan, at a time."""

    def __init__(self, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.at(datetime(2026, 11, 30, 23, 0, tzinfo=UTC))
        account = Account(account_id="a", plan=plan)
        usage = QuotaUsage(cast(Any, None))
        self.plans = PlanAdmission({"a": account}.get, parse_prices(PRICES), usage)
        self.principal = Principal(ApiKey(), Tenant(account_id="a", tenant_id="t"))

    def at(self, now: datetime) -> None:
        self._monkeypatch.setattr(clock, "now", lambda: now)
        self._monkeypatch.setattr(clock, "now_ms", lambda: int(now.timestamp() * 1000))

    def admit(self, messages: int, **used: int) -> ExitStack:
        """used: what commits returned, of month or day. Raises Problem."""
        limits = self.plans.limits_of(self.principal)
        for one in limits:
            if one.span in used:
                self.plans.usage.record({one.key: used[one.span]})
        stack = ExitStack()
        stack.enter_context(self.plans.admitting(limits, messages))
        return stack


def refusal(call: Any) -> Problem:  # noqa: ANN401 - a function
    with pytest.raises(Problem) as refused:
        call()
    return refused.value


def test_what_is_about_to_be_committed_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission("free", monkeypatch)
    first = admission.admit(3)
    assert refusal(lambda: admission.admit(3)).name == "daily_quota_exceeded"
    admission.admit(2).close()
    first.close()  # it failed: nothing was committed
    admission.admit(5).close()


def test_what_was_committed_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission("free", monkeypatch)
    usage, limits = admission.plans.usage, admission.plans.limits_of(admission.principal)
    with admission.plans.admitting(limits, 2) as reserved:
        usage.record({one.key: 2 for one in limits}, [reserved])
        assert [usage.used(one.key) for one in limits] == [2, 2]
        admission.admit(3).close()
    assert [usage.used(one.key) for one in limits] == [2, 2]


def test_the_quota_that_is_exceeded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission("free", monkeypatch)
    problem = refusal(lambda: admission.admit(2, month=9))
    assert (problem.status, problem.name) == (429, "monthly_quota_exceeded")
    assert "9 are used, and this request has 2" in problem.detail
    assert "Wait until 2026-12-01 00:00 UTC" in problem.detail
    assert problem.retry_after_s == 3600
    problem = refusal(lambda: admission.admit(1, month=0, day=5))
    assert (problem.name, problem.faults[0].pointer) == ("daily_quota_exceeded", "#/to")


def test_commits_may_return_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission("free", monkeypatch)
    admission.admit(1, month=8).close()
    admission.admit(1, month=7).close()
    assert refusal(lambda: admission.admit(3)).name == "monthly_quota_exceeded"


def test_a_new_day_and_other_prices_begin_at_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission("free", monkeypatch)
    admission.admit(1, month=9, day=4).close()
    keys = [one.key for one in admission.plans.limits_of(admission.principal)]
    assert keys == [QuotaKey("a", "2026-11"), QuotaKey("a", "2026-11-30")]
    admission.at(datetime(2026, 12, 1, tzinfo=UTC))
    assert admission.plans.limits_of(admission.principal) == ()
    assert [admission.plans.usage.used(key) for key in keys] == [0, 0]  # forgotten


def test_features_and_test_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission("smtp", monkeypatch)
    check = admission.plans.check_feature
    problem = refusal(lambda: check(admission.principal))
    assert (problem.status, problem.name) == (403, "plan_required")
    assert "The plan Mailboxes does not include sending by the API." in problem.detail
    assert "It needs the plan Free" in problem.detail
    check(admission.principal._replace(interface="smtp"))
    check(admission.principal._replace(key=ApiKey(test=True)))
    assert admission.plans.limits_of(admission.principal) == ()  # soft


@pytest.mark.parametrize("plan", ["", "of another price book"])
def test_without_a_plan_everything_is_admitted(plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission(plan, monkeypatch)
    admission.plans.check_feature(admission.principal)
    assert admission.plans.limits_of(admission.principal) == ()
