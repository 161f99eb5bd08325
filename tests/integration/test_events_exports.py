"""Exports on real Kafka and PostgreSQL: what a file has, kills, limits, strangers, expiry."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contracts.events.v1 import events_service_pb2 as pb
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from contracts.ingest.v1.directory_pb2 import Tenant
from kernel.csv_rows import unguarded
from kernel.ids import uuid7_text
from kernel.rpc import RpcClient, RpcError
from services.events.api import exports
from services.events.domain.export import EMAIL_COLUMNS, EVENT_COLUMNS
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.events_process import environment_of, peer_of, process_of
from tests.support.message_events import MessageEvents

__all__ = ["run_scenario"]
PAGES = {"export_page_rows": 2}


@pytest.fixture(autouse=True)
def _settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "SETTLE", exports.SETTLE * 0)


class Exporting:
    """Exports of a tenant, or of an account."""

    def __init__(self, peer: RpcClient, account_id: str, tenant_id: str = "") -> None:
        self.owner: dict[str, Any] = {"account_id": account_id, "tenant_id": tenant_id}
        self._peer, self._stub = peer, EventsServiceStub(peer.channel)

    async def call(self, name: str, **fields: Any) -> Any:  # noqa: ANN401 - its response
        request = getattr(pb, f"{name}Request")(**self.owner, **fields)
        return await self._peer.call(getattr(self._stub, name), request, deadline_s=60)

    async def create(self, form: str = "ndjson", kind: str = "events", **fields: Any) -> pb.Export:  # noqa: ANN401
        response = await self.call("CreateExport", kind=kind, format=form, **fields)
        created: pb.Export = response.export
        assert created.status == "queued"
        return created

    async def get(self, export_id: str) -> pb.Export:
        found: pb.Export = (await self.call("GetExport", id=export_id)).export
        return found

    async def completed(self, created: pb.Export) -> pb.Export:
        async def find() -> pb.Export | None:
            found = await self.get(created.id)
            assert found.status in {"queued", "running", "completed"}
            return found if found.status == "completed" else None

        return await until(find)

    async def download(self, export_id: str) -> bytes:
        request = pb.DownloadExportRequest(**self.owner, id=export_id)
        responses = self._peer.stream(self._stub.DownloadExport, request)
        return b"".join([one.content async for one in responses])

    async def file(self, form: str = "ndjson", kind: str = "events", **fields: Any) -> bytes:  # noqa: ANN401
        found = await self.completed(await self.create(form, kind, **fields))
        content = await self.download(found.id)
        assert len(content) == found.bytes
        return content


def of(message: MessageEvents, peer: RpcClient) -> Exporting:
    return Exporting(peer, message.account_id, message.tenant_id)


def rows_of(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


async def record(events: Running, *messages: MessageEvents) -> None:
    await events.publish_in_order(*(event for one in messages for event in one.delivered()))
    for message in messages:
        await events.wait_recorded(message, 5)


def left(events: Running, table: str, message: MessageEvents) -> int:
    """Rows of the message's account."""
    sql = f"SELECT count(*) FROM events.{table} WHERE account_id = %s"
    return int(events.rows(sql, (message.account_id,))[0][0])


def messages_of_one(count: int, **fields: Any) -> list[MessageEvents]:  # noqa: ANN401
    first = MessageEvents(account_id=uuid7_text(), **fields)
    same = {"account_id": first.account_id, "tenant_id": first.tenant_id, **fields}
    return [first, *(MessageEvents(**same) for _ in range(count - 1))]


def test_a_file_has_what_a_search_finds(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = messages_of_one(5, tags={"color": "red"})
        bounced = mine[0]
        await record(events, *mine, MessageEvents(account_id=mine[0].account_id))
        await events.publish(bounced.complained())
        await events.wait_recorded(bounced, 6)
        exporting = of(mine[0], events.peer)
        request = pb.ListEventsRequest(**exporting.owner, limit=100)
        request.filter.CopyFrom(pb.EventFilter())
        listed = (await events.call(events.stub.ListEvents, request)).events
        rows = rows_of(await exporting.file())
        assert [row["id"] for row in rows] == [one.id for one in listed]
        for row, one in zip(rows, listed, strict=True):
            assert row["data"] == json.loads(json.dumps(row["data"]))
            assert {row["type"], row["recipient"], row["tenant_id"]} == {
                one.type, one.recipient, one.tenant_id
            }  # fmt: skip
            assert row["data"] == dict_of(one)
        some = await exporting.file(filter=pb.ExportFilter(types=["email.complained"]))
        assert [row["type"] for row in rows_of(some)] == ["email.complained"]

    run_scenario.shared(scenario, **PAGES)


def dict_of(one: pb.LoggedEvent) -> Any:  # noqa: ANN401 - JSON
    from google.protobuf.json_format import MessageToDict

    from services.ingest.api.views import with_whole_numbers

    return with_whole_numbers(MessageToDict(one.data))


def test_a_file_of_emails_has_each_once(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = messages_of_one(7)
        await record(events, *mine)
        exporting = of(mine[0], events.peer)
        rows = rows_of(await exporting.file(kind="emails"))
        assert [row["id"] for row in rows] == sorted((one.email_id for one in mine), reverse=True)
        assert {row["last_event"] for row in rows} == {"delivered"}
        lines = (await exporting.file("csv", "emails")).decode().split("\r\n")
        assert lines[0] == ",".join(EMAIL_COLUMNS)
        assert len(lines) == 1 + 7 + 1
        nothing = pb.ExportFilter(status="bounced")
        assert await exporting.file(kind="emails", filter=nothing) == b""
        only_head = await exporting.file("csv", "emails", filter=nothing)
        assert only_head.decode() == ",".join(EMAIL_COLUMNS) + "\r\n"

    run_scenario.shared(scenario, **PAGES)


def test_no_cell_is_a_formula(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        hostile = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "'=1", 'a"b,c\nd']
        mine = messages_of_one(len(hostile))
        for one, text in zip(mine, hostile, strict=True):
            accepted, *others = one.delivered()
            accepted.subject = text  # type: ignore[attr-defined]
            await events.publish_in_order(accepted, *others)
        for one in mine:
            await events.wait_recorded(one, 5)
        content = await of(mine[0], events.peer).file(
            "csv", filter=pb.ExportFilter(types=["email.delivered"])
        )
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        assert list(rows[0]) == list(EVENT_COLUMNS)
        cells = [row["subject"] for row in rows]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
        assert {unguarded(cell) for cell in cells} == {*hostile}
        assert {row["code"] for row in rows} == {"250"}

    run_scenario.shared(scenario, **PAGES)


def test_a_deleted_or_expired_export_leaves_nothing(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = messages_of_one(3)
        await record(events, *mine)
        exporting = of(mine[0], events.peer)
        first, second = [await exporting.completed(await exporting.create()) for _ in range(2)]
        assert left(events, "export_parts", mine[0]) > 0
        await exporting.call("DeleteExport", id=first.id)
        for name in ("GetExport", "DeleteExport"):
            with pytest.raises(RpcError, match="export not found"):
                await exporting.call(name, id=first.id)
        with pytest.raises(RpcError, match="export not found"):
            await exporting.download(first.id)
        with events.database.connect() as connection:
            connection.execute(
                "UPDATE events.exports SET finished_at = now() - interval '25 hours' WHERE id = %s",
                (second.id,),
            )
        await until(lambda: left(events, "exports", mine[0]) == 0)
        assert left(events, "export_parts", mine[0]) == 0

    run_scenario.shared(scenario, **PAGES)


def test_a_closed_tenant_leaves_no_export(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        [mine] = messages_of_one(1)
        await record(events, mine)
        exporting = of(mine, events.peer)
        await exporting.completed(await exporting.create())
        closed = Tenant(
            tenant_id=mine.tenant_id, account_id=mine.account_id, version=2, deleted=True
        )
        await events.publish(closed)
        await until(lambda: left(events, "exports", mine) == 0)
        assert left(events, "export_parts", mine) == 0

    run_scenario.shared(scenario, **PAGES)


def test_a_file_ends_at_the_most_rows_it_may_have(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine = messages_of_one(4)
        await record(events, *mine)
        exporting = of(mine[0], events.peer)
        created = await exporting.create(kind="emails")
        found = await exporting.completed(created)
        assert (found.rows, found.truncated) == (3, True)
        newest = sorted((one.email_id for one in mine), reverse=True)[:3]
        assert [row["id"] for row in rows_of(await exporting.download(found.id))] == newest

    run_scenario(scenario, export_page_rows=2, export_rows_max=3)


def test_only_its_owner_sees_an_export(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        mine, other = MessageEvents(account_id=uuid7_text()), messages_of_one(1)[0]
        await record(events, mine, other)
        exporting = of(mine, events.peer)
        created = await exporting.completed(await exporting.create())
        whole = Exporting(events.peer, mine.account_id)
        wide = await whole.completed(await whole.create())
        assert [one.id for one in (await whole.call("ListExports")).exports] == [
            wide.id, created.id
        ]  # fmt: skip
        assert [one.id for one in (await exporting.call("ListExports")).exports] == [created.id]
        assert await whole.download(created.id) == await exporting.download(created.id)
        strangers = [of(other, events.peer), Exporting(events.peer, other.account_id)]
        for who, export_id in [(exporting, wide.id), *((one, created.id) for one in strangers)]:
            assert export_id not in str((await who.call("ListExports")).exports)
            for name in ("GetExport", "DeleteExport"):
                with pytest.raises(RpcError, match="export not found"):
                    await who.call(name, id=export_id)
            with pytest.raises(RpcError, match="export not found"):
                await who.download(export_id)
        with pytest.raises(RpcError, match="export not found"):
            await exporting.call("GetExport", id=created.id, test_only=True)

    run_scenario.shared(scenario, **PAGES)


def test_an_account_has_so_many_exports_at_a_time(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        await events.find_open()  # it is ready
        account = uuid7_text()
        some = [Exporting(events.peer, account, uuid7_text()) for _ in range(6)]
        later = {"kind": "events", "format": "csv"}
        take = "UPDATE events.leases SET expires_at = %s, owner = 'other' WHERE name = 'exports'"
        with events.database.connect() as connection:
            connection.execute(take, ("infinity",))
            created: Sequence[Any] = [await one.call("CreateExport", **later) for one in some]
            assert [one.HasField("export") for one in created] == [True] * 5 + [False]
            await some[0].call("DeleteExport", id=created[0].export.id)
            assert (await some[5].call("CreateExport", **later)).HasField("export")
            connection.execute(take, ("now",))

    run_scenario.shared(scenario, **PAGES)


@pytest.mark.parametrize(
    ("kind", "given", "text"),
    [
        ("events", {"types": ["email.gone"]}, "unknown type"),
        ("events", {"status": "delivered"}, "events have no filter status"),
        ("emails", {"types": ["email.sent"]}, "emails have no filter type"),
        ("emails", {"status": "gone"}, "unknown status"),
        ("emails", {"to": "a\0b"}, "NUL"),
    ],
)
def test_a_wrong_filter_is_refused(
    run_scenario: ScenarioRunner, kind: str, given: dict[str, Any], text: str
) -> None:
    async def scenario(events: Running) -> None:
        exporting = Exporting(events.peer, uuid7_text(), uuid7_text())
        with pytest.raises(RpcError, match=text):
            await exporting.create(kind=kind, filter=pb.ExportFilter(**given))

    run_scenario.shared(scenario, **PAGES)


@pytest.mark.parametrize(
    "failpoint", ["events.export.written=kill@2", "events.export.saved=kill@2"]
)
def test_a_killed_export_goes_on_where_it_was(
    run_scenario: ScenarioRunner, tmp_path: Path, failpoint: str
) -> None:
    mine = messages_of_one(8)
    environment = {**environment_of(run_scenario), "EVENTS_EXPORT_PAGE_ROWS": "2"}

    async def recorded(events: Running) -> None:
        await record(events, *mine)

    async def killed_and_completed() -> bytes:
        with process_of(environment, tmp_path, OBM_FAILPOINTS=failpoint) as process:
            async with peer_of(process) as peer:
                exporting = of(mine[0], peer)
                created = await exporting.create(kind="emails")
                await until(lambda: not process.running)
        with process_of(environment, tmp_path) as process:
            async with peer_of(process) as peer:
                exporting = of(mine[0], peer)
                found = await exporting.completed(created)
                return await exporting.download(found.id)

    run_scenario(recorded)
    with run_scenario.database.connect() as connection:  # of other tests, which may be unfinished
        connection.execute("UPDATE events.exports SET deleted_at = now()")
    rows = rows_of(run_scenario.run(killed_and_completed()))
    assert [row["id"] for row in rows] == sorted((one.email_id for one in mine), reverse=True)
