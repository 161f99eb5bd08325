"""Every public RPC treats the id of another account or tenant like one that does not exist, for
every caller that it admits. The RPCs come from the services' descriptors."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc import StatusCode as Code

from services.ingest.api.grpc.base import rule_of
from tests.support.engine import Engine
from tests.support.known_keys import ACCESS
from tests.support.public_rpcs import Rpc, rpcs, services_with
from tests.support.strangers import (
    MISSING,
    SUPPRESSED,
    Caller,
    OwnedObjects,
    call,
    check_unchanged,
    other,
    owner,
    stranger,
)

__all__ = ["other", "owner", "stranger"]

NAMES = {
    "AccountService": "account_id", "TenantService": "tenant_id", "ApiKeyService": "key_id",
    "MailboxService": "mailbox_id", "BrandService": "brand_id", "DomainService": "domain_id",
    "EmailService": "email_id", "WebhookService": "webhook_id", "IpService": "ip_id",
    "SandboxService": "message_id", "SuppressionService": "import_id",
    "ExportService": "export_id", "LogService": "log_id",
    "RecipientService": "erasure_id", "ReportService": "report_id",
    "CampaignService": "campaign_id",
}  # fmt: skip
OF_LISTS = {"AddSuppression", "ListSuppressions"}  # whose email selects nothing


def selectors_of(rpc: Rpc, owner: OwnedObjects) -> list[dict[str, str]]:
    """The fields that name the owner's objects, and something that does not exist; empty if the RPC
    has none."""
    service = rpc.service.rpartition(".")[2]
    fields = rpc.method.input_type.fields_by_name
    if "email" in fields and service == "SuppressionService" and rpc.method.name not in OF_LISTS:
        return [{"email": SUPPRESSED}, {"email": "x@y.example"}]
    if "id" not in fields:
        return []
    name = NAMES[service]
    return [{"id": one} for one in (*(ids[name] for ids in owner.ids_of([name])), MISSING)]


def with_changes(request: Any, owner: OwnedObjects) -> Any:  # noqa: ANN401 - a protobuf
    """The request with what it needs besides the id."""
    fields = request.DESCRIPTOR.fields_by_name
    if "event_id" in fields:
        request.event_id = owner.ids["event_id"]
    if request.DESCRIPTOR.name == "RecoverWebhookRequest":
        request.since = "2026-11-28T06:00:00Z"
    if "scheduled_at" in fields:
        request.scheduled_at.GetCurrentTime()
    if request.DESCRIPTOR.name.startswith("Update") and "name" in fields:
        request.name = "mine"
    return request


def test_every_public_rpc_treats_a_foreign_id_as_missing(
    engine: Engine, owner: OwnedObjects, stranger: Caller
) -> None:
    address = engine.environment["INGEST_GRPC_LISTEN"]
    checked = 0
    for rpc in rpcs(services_with(ACCESS)):
        rule = rule_of(rpc.method.name)
        if stranger.kind not in rule.callers or not (selectors := selectors_of(rpc, owner)):
            continue
        expected = Code.INVALID_ARGUMENT if stranger.lacks_tenant(rule) else Code.NOT_FOUND
        refusals = []
        for one in selectors:
            request = with_changes(rpc.request(**one), owner)
            service = rpc.method.containing_service
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                asyncio.run(call(address, service, rpc.method, request, stranger.metadata))
            assert refused.value.code() == expected, (rpc.method.name, refused.value.details())
            refusals.append((refused.value.details(), refused.value.trailing_metadata()))
        assert all(one == refusals[-1] for one in refusals), rpc.method.name
        checked += 1
    assert checked >= 25
    check_unchanged(owner)
