"""Exports by REST, by gRPC and at the command line, on a running engine."""

import asyncio
import csv
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from contracts.ingest.v1 import export_service_pb2 as pb
from contracts.ingest.v1.export_service_pb2_grpc import ExportServiceStub
from tests.support.accounts import add_account_key
from tests.support.engine import Engine
from tests.support.pages import ROOT
from tests.support.strangers import OwnedObjects, other, owner

__all__ = ["other", "owner"]
WITHIN_S = 240.0
EVENTS = {"type": ["email.sent", "email.delivered"]}


def completed(http: httpx.Client, export_id: str) -> dict[str, object]:
    deadline = time.monotonic() + WITHIN_S
    while (found := http.get(f"/exports/{export_id}").json())["status"] != "completed":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return dict(found)


def wait_delivered(http: httpx.Client, email_id: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while http.get(f"/emails/{email_id}").json()["last_event"] != "delivered":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_events_of_a_tenant_are_downloaded(owner: OwnedObjects) -> None:
    http = owner.http
    wait_delivered(http, owner.ids["email_id"])
    body = {"kind": "events", "format": "ndjson", "filter": EVENTS}
    created = http.post("/exports", json=body)
    assert created.status_code == 202
    path = created.headers["location"].removeprefix("/v1")
    early = http.get(f"{path}/download")
    assert (early.status_code, early.json()["name"]) == (409, "conflict")
    found = completed(http, created.json()["id"])
    assert http.head(f"{path}/download").headers["content-type"] == "application/x-ndjson"
    downloaded = http.get(f"{path}/download")
    assert len(downloaded.content) == found["bytes"]
    query: dict[str, str | int] = {"type": "email.sent,email.delivered", "limit": 100}
    listed = http.get("/emails/events", params=query).json()["data"]
    rows = [json.loads(line) for line in downloaded.text.splitlines()]
    assert rows == [one for one in listed if one["created_at"] <= found["filter"]["until"]]  # type: ignore[index]
    assert http.delete(path).json()["deleted"]
    assert http.get(path).status_code == 404


def test_the_emails_of_an_account_are_downloaded_by_grpc(
    owner: OwnedObjects, engine: Engine
) -> None:
    key = add_account_key(engine.environment, owner.account_id)
    content = asyncio.run(exported(engine.environment["INGEST_GRPC_LISTEN"], key))
    listed = owner.http.get("/emails", params={"limit": 100}).json()["data"]
    assert [json.loads(line) for line in content.splitlines()] == listed


async def exported(address: str, key: str) -> bytes:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = ExportServiceStub(channel)
        metadata = (("authorization", f"Bearer {key}"),)
        request = pb.CreateExportRequest(kind="emails", format="ndjson")
        created = (await stub.CreateExport(request, metadata=metadata)).export
        while await status_of(stub, created.id, metadata) != "completed":
            await asyncio.sleep(0.1)
        call = stub.DownloadExport(pb.DownloadExportRequest(id=created.id), metadata=metadata)
        content = b"".join([one.content async for one in call])
        await stub.DeleteExport(pb.DeleteExportRequest(id=created.id), metadata=metadata)
        return content


async def status_of(
    stub: Any,  # noqa: ANN401 - an asynchronous stub
    export_id: str,
    metadata: tuple[tuple[str, str], ...],
) -> str:
    """Empty if the service did not respond in time: the machine may be busy."""
    try:
        response = await stub.GetExport(pb.GetExportRequest(id=export_id), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        return ""
    return str(response.export.status)


def test_the_command_writes_a_file_and_deletes_the_export(
    owner: OwnedObjects, engine: Engine, tmp_path: Path
) -> None:
    key = add_account_key(engine.environment, owner.account_id)
    environment = {**engine.environment, "OBM_API_URL": engine.url, "OBM_API_KEY": key}
    environment.pop("OBM_OPERATOR_KEY", None)
    file = tmp_path / "emails.csv"
    before = {one["id"] for one in owner.http.get("/exports").json()["data"]}
    command = ["export", "emails", str(file), "--account-wide"]
    done = subprocess.run(
        [sys.executable, "-m", "cli", *command],
        check=True, env=environment, cwd=ROOT, text=True, capture_output=True, timeout=WITHIN_S,
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert owner.ids["email_id"] in {row["id"] for row in rows}
    assert f"{len(rows)} emails in" in done.stdout.replace("\n", " ")
    assert {one["id"] for one in owner.http.get("/exports").json()["data"]} == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "figures"}, "#/kind"),
        ({"format": "xlsx"}, "#/format"),
        ({"filter": {"type": ["email.lost"]}}, "#/filter/type/0"),
        ({"filter": {"status": "sent"}}, "#/filter/status"),
        ({"filter": {"since": "yesterday"}}, "#/filter/since"),
        ({"filter": {"since": "2999-01-01T00:00:00Z"}}, "#/filter/since"),
        ({"filter": {"limit": 3}}, "#/filter/limit"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    owner: OwnedObjects, body: dict[str, object], pointer: str
) -> None:
    refused = owner.http.post("/exports", json=body)
    assert refused.status_code == 422
    assert [one["pointer"] for one in refused.json()["errors"]] == [pointer]
