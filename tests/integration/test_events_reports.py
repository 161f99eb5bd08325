"""Saved reports on real Kafka and PostgreSQL: each period once, by webhook and by mail."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.events.v1 import events_service_pb2 as pb
from contracts.ingest.v1.directory_pb2 import Account, Tenant
from kernel.ids import uuid7_text
from kernel.rpc import RpcError
from services.events.store import reports
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.events_process import environment_of, process_of
from tests.support.message_events import MessageEvents
from tests.support.receiver import Received, Receiver, receiving

__all__ = ["run_scenario"]
OWNER = "ops@customer.example"
DUE = """
UPDATE events.reports SET next_end = date_trunc('month', now() - interval '11 min')
WHERE id = %s RETURNING 1
"""


def settings_of(receiver: Receiver) -> dict[str, Any]:
    return {
        "notice_from": "reports@engine.example", "api_url": receiver.url + "/v1",
        "api_key": "key_1",
    }  # fmt: skip


async def publish_account(events: Running) -> MessageEvents:
    """A message of a tenant of a new account."""
    message = MessageEvents(account_id=uuid7_text())
    account = Account(account_id=message.account_id, version=1, billing_email=OWNER)
    tenant = Tenant(tenant_id=message.tenant_id, version=1, account_id=message.account_id)
    await events.publish(account, tenant)
    return message


def new_report(message: MessageEvents, **fields: Any) -> pb.CreateReportRequest:  # noqa: ANN401
    query = pb.GetMetricsRequest(metrics=["sent", "delivered", "delivery_rate"])
    given = {
        "tenant_id": message.tenant_id, "account_id": message.account_id, "name": "Every day",
        "frequency": "daily", "webhook": True, "query": query,
    }  # fmt: skip
    return pb.CreateReportRequest(**{**given, **fields})


async def create(events: Running, message: MessageEvents, **fields: Any) -> pb.Report:  # noqa: ANN401
    response = await events.call(events.stub.CreateReport, new_report(message, **fields))
    return response.report


async def add_webhook(events: Running, message: MessageEvents, url: str) -> None:
    request = pb.CreateWebhookRequest(
        tenant_id=message.tenant_id, url=url, event_types=["report.ready"]
    )
    await events.call(events.stub.CreateWebhook, request)


def test_a_report_has_the_figures_of_its_period(
    run_scenario: ScenarioRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of today, which are taken for complete."""

    async def main() -> None:
        async with receiving() as receiver:
            async with run_scenario.service(**settings_of(receiver)) as events:
                message = await publish_account(events)
                await events.publish(*message.delivered())
                await events.wait_recorded(message, 5)
                await until(
                    lambda: events.rows("SELECT count(*) FROM events.stats_deltas") == [(0,)]
                )
                await add_webhook(events, message, receiver.url + "/hook")
                monkeypatch.setattr(reports, "SETTLE", timedelta(days=-1))
                made = await create(events, message, email=True)
                await until(lambda: bool(receiver.at("/hook") and mails(receiver, made)))
            [hook], [mail] = receiver.at("/hook"), mails(receiver, made)
            assert hook.json["type"] == "report.ready"
            data = hook.json["data"]
            assert (data["id"], data["name"], data["frequency"]) == (made.id, "Every day", "daily")
            assert data["figures"]["totals"] == {"sent": 1, "delivered": 1, "delivery_rate": 1}
            assert (mail.json["to"], mail.json["from"]) == (OWNER, "reports@engine.example")
            assert "delivered: 1\n" in mail.json["text"]

    run_scenario.run(main())


@pytest.mark.parametrize(
    "failpoint", ["events.report.counted", "events.report.committed", "events.report.mailed"]
)
def test_a_process_that_dies_reports_a_period_once_all_the_same(
    run_scenario: ScenarioRunner, tmp_path: Path, failpoint: str
) -> None:
    async def main() -> None:
        async with receiving() as receiver:
            environment = environment_of(run_scenario) | {
                "EVENTS_NOTICE_FROM": "reports@engine.example", "EVENTS_API_KEY": "key_1",
                "EVENTS_API_URL": receiver.url + "/v1",
                "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
            }  # fmt: skip
            async with run_scenario.service(**settings_of(receiver)) as events:
                message = await publish_account(events)
                await add_webhook(events, message, receiver.url + "/hook")
                made = await create(events, message, email=True, frequency="monthly")
            with run_scenario.database.connect() as connection:
                connection.execute(DUE, (made.id,))
            with process_of(environment, tmp_path, OBM_FAILPOINTS=f"{failpoint}=kill") as process:
                await until(lambda: not process.running)
            with run_scenario.database.connect() as connection:
                connection.execute("UPDATE events.report_mails SET due_at = now()")
            with process_of(environment, tmp_path):
                await until(lambda: bool(receiver.at("/hook")) and not waiting(run_scenario, made))
            assert len({one.headers["webhook-id"] for one in receiver.at("/hook")}) == 1
            sent = mails(receiver, made)
            assert len(sent) == (2 if failpoint == "events.report.mailed" else 1)
            assert len({one.headers["idempotency-key"] for one in sent}) == 1
            assert len({one.body for one in sent}) == 1

    run_scenario.run(main())


def mails(receiver: Receiver, report: pb.Report) -> list[Received]:
    """Of this report: those of other tests may be due too."""
    key = f"report {report.id} "
    found = receiver.at("/v1/emails")
    return [one for one in found if one.headers["idempotency-key"].startswith(key)]


def waiting(run_scenario: ScenarioRunner, report: pb.Report) -> bool:
    """Whether it is due, or its mail."""
    due = "SELECT 1 FROM events.reports WHERE id = %s AND next_end < now() - interval '11 min'"
    mails = "SELECT 1 FROM events.report_mails WHERE report_id = %s"
    with run_scenario.database.connect() as connection:
        return any(connection.execute(one, (report.id,)).fetchall() for one in (due, mails))


def test_only_its_owner_sees_a_report(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, other = MessageEvents(account_id=uuid7_text()), MessageEvents(account_id=uuid7_text())
        made = await create(events, mine)
        wide = await create(events, mine, tenant_id="")
        stub = events.stub
        of_account = await events.call(
            stub.ListReports, pb.ListReportsRequest(account_id=mine.account_id)
        )
        assert [one.id for one in of_account.reports] == [wide.id, made.id]
        strangers: list[dict[str, Any]] = [
            {"tenant_id": other.tenant_id}, {"account_id": other.account_id},
        ]  # fmt: skip
        for owner in strangers:
            assert not (await events.call(stub.ListReports, pb.ListReportsRequest(**owner))).reports
            with pytest.raises(RpcError, match="report not found"):
                await events.call(stub.GetReport, pb.GetReportRequest(**owner, id=made.id))
            with pytest.raises(RpcError, match="report not found"):
                await events.call(stub.DeleteReport, pb.DeleteReportRequest(**owner, id=made.id))
        of_tenant = pb.DeleteReportRequest(tenant_id=mine.tenant_id, id=wide.id)
        with pytest.raises(RpcError, match="report not found"):
            await events.call(stub.DeleteReport, of_tenant)
        gone = pb.DeleteReportRequest(account_id=mine.account_id, id=made.id)
        assert (await events.call(stub.DeleteReport, gone)).id == made.id

    run_scenario.shared(scenario)


def test_a_closed_tenant_gets_no_more_reports(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = MessageEvents(account_id=uuid7_text())
        await create(events, mine)
        closed = Tenant(
            tenant_id=mine.tenant_id, account_id=mine.account_id, version=2, deleted=True
        )
        await events.publish(closed)
        sql = "SELECT count(*) FROM events.reports WHERE account_id = %s"
        await until(lambda: events.rows(sql, (mine.account_id,)) == [(0,)])

    run_scenario.shared(scenario)


def test_a_closed_account_gets_no_more_reports(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, other = MessageEvents(account_id=uuid7_text()), MessageEvents(account_id=uuid7_text())
        await create(events, mine, tenant_id="")
        kept = await create(events, other, tenant_id="")
        await events.publish(
            Account(account_id=other.account_id, version=1),
            Account(account_id=mine.account_id, version=2, deleted=True),
        )
        sql = "SELECT id::text FROM events.reports WHERE account_id = ANY(%s::uuid[])"
        owners = ([mine.account_id, other.account_id],)
        await until(lambda: events.rows(sql, owners) == [(kept.id,)], within_s=60)

    run_scenario.shared(scenario)


def test_an_owner_has_so_many_reports(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = MessageEvents(account_id=uuid7_text())
        for _ in range(20):
            assert (await create(events, mine)).id
        response = await events.call(events.stub.CreateReport, new_report(mine))
        assert not response.HasField("report")

    run_scenario.shared(scenario)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"timezone": "Europe/Atlantis"}, "timezone is no IANA name"),
        ({"frequency": "hourly"}, "unknown frequency"),
        ({"query": pb.GetMetricsRequest(dimensions=["tag", "site"])}, "not counted together"),
        (
            {"query": pb.GetMetricsRequest(dimensions=["period", "tag"], granularity="hourly")},
            "no hours by tag",
        ),
        ({"email": True}, "sends no mail of its own"),
    ],
)
def test_a_wrong_report_is_refused(
    run_scenario: ScenarioRunner, fields: dict[str, Any], text: str
) -> None:
    async def scenario(events: Running) -> None:
        with pytest.raises(RpcError, match=text):
            await create(events, MessageEvents(account_id=uuid7_text()), **fields)

    run_scenario.shared(scenario)
