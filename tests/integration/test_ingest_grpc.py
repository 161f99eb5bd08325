"""The gRPC API: the same rules and the same transaction as REST."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub
from grpc_status import rpc_status

from contracts.ingest.v1 import email_service_pb2 as pb
from contracts.ingest.v1.content_pb2 import Attachment
from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceStub
from kernel import clock
from tests.support.ingest import DOMAIN, IngestHarness
from tests.support.stack import shared_harness_fixture

if TYPE_CHECKING:  # the name exists for type checkers only
    from contracts.ingest.v1.email_service_pb2_grpc import EmailServiceAsyncStub

INVALID = grpc.StatusCode.INVALID_ARGUMENT


harness = shared_harness_fixture(IngestHarness)


def channel_to(harness: IngestHarness) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{harness.ports.ingest_grpc}")


@asynccontextmanager
async def stub(harness: IngestHarness) -> AsyncIterator["EmailServiceAsyncStub"]:
    async with channel_to(harness) as channel:
        yield EmailServiceStub(channel)


def email(**changes: object) -> pb.Email:
    made = {
        "from": f"Shop <hello@{DOMAIN}>",
        "to": ["delivered@obm-sandbox.net"],
        "subject": "Your order",
        "text": "It is on its way.",
    }
    return pb.Email(**{**made, **changes})  # type: ignore[arg-type]


def credentials(harness: IngestHarness) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {harness.key}"),)


async def test_an_email_is_sent_repeated_and_read(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()
        metadata = credentials(harness)
        file = Attachment(filename="a.bin", content=b"\x00\xff")
        soon = Timestamp(seconds=int(clock.now().timestamp()) + 3600)
        request = pb.SendEmailRequest(
            email=email(
                attachments=[file], tags={"kind": "order"}, metadata={"order": "17"},
                cc=["c@x.example"], scheduled_at=soon, tls="enforced",
            ),
            idempotency_key="order-17",
        )  # fmt: skip
        trace = f"00-{'ab' * 16}-{'cd' * 8}-00"
        first = await service.SendEmail(request, metadata=(*metadata, ("traceparent", trace)))
        again = await service.SendEmail(request, metadata=metadata)
        assert first.status == "scheduled"
        assert all(one.context.tls_enforced for one in await harness.accepted(first.id))
        assert (again.id, again.idempotent_replayed) == (first.id, True)
        got = await service.GetEmail(pb.GetEmailRequest(id=first.id), metadata=metadata)
        assert got.email.subject == "Your order"
        assert got.email.last_event == "scheduled"
        assert [one.type for one in got.email.recipients] == ["to", "cc"]
        assert list(got.email.unavailable) == ["router", "events"]
        accepted = await harness.accepted(first.id, 2)
        assert dict(accepted[0].tags) == {"kind": "order"}
        assert accepted[0].context.traceparent == trace


async def test_a_test_key_finds_no_live_mail(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up(test=False)
        live = credentials(harness)
        soon = Timestamp(seconds=int(clock.now().timestamp()) + 3600)
        mail = email(to=["ann@customer-lab.net"], scheduled_at=soon)
        request = pb.SendEmailRequest(email=mail, idempotency_key="order-17")
        sent = await service.SendEmail(request, metadata=live)
        made = await harness.request("POST", "/v1/api-keys", {"name": "CI", "test": True})
        test = (("authorization", f"Bearer {made.json['token']}"),)
        for call in (
            service.GetEmail(pb.GetEmailRequest(id=sent.id), metadata=test),
            service.CancelEmail(pb.CancelEmailRequest(id=sent.id), metadata=test),
            service.UpdateEmail(
                pb.UpdateEmailRequest(id=sent.id, scheduled_at=soon), metadata=test
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        tried = await service.SendEmail(request, metadata=test)
        assert tried.id != sent.id
        [accepted] = await harness.accepted(tried.id)
        assert accepted.context.test
        got = await service.GetEmail(pb.GetEmailRequest(id=sent.id), metadata=live)
        assert got.email.id == sent.id


async def test_faults_have_their_fields(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()
        metadata = credentials(harness)
        request = pb.SendEmailRequest(email=email(to=["nobody"]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.SendEmail(request, metadata=metadata)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        bad = error_details_pb2.BadRequest()
        status = rpc_status.from_call(refused.value)
        assert status is not None
        assert any(detail.Unpack(bad) for detail in status.details)
        assert [one.field for one in bad.field_violations] == ["to.0"]
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await service.SendEmail(pb.SendEmailRequest(email=email()))
        assert unknown.value.code() == grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await service.GetEmail(pb.GetEmailRequest(id="none"), metadata=metadata)
        assert missing.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_permissive_batch_reports_its_invalid_emails(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()
        foreign = email(**{"from": "boss@somebody-else.net"})
        emails = [email(), email(to=["nobody"]), foreign]
        response = await service.SendEmailBatch(
            pb.SendEmailBatchRequest(emails=emails, permissive=True),
            metadata=credentials(harness),
        )
        assert len(response.ids) == 1
        assert [one.index for one in response.errors] == [1, 2]
        with pytest.raises(grpc.aio.AioRpcError) as strict:
            await service.SendEmailBatch(
                pb.SendEmailBatchRequest(emails=emails), metadata=credentials(harness)
            )
        assert strict.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_batch_has_the_recipient_limit_of_rest(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()
        many = email(to=[f"u{n}@x.example" for n in range(50)])
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.SendEmailBatch(
                pb.SendEmailBatchRequest(emails=[many] * 201), metadata=credentials(harness)
            )
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "10000 recipients" in (refused.value.details() or "")


async def test_an_email_has_the_size_limit_of_rest(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()
        file = Attachment(filename="a.bin", content=bytes(40 * 1024 * 1024))
        request = pb.SendEmailRequest(email=email(attachments=[file]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.SendEmail(request, metadata=credentials(harness))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "larger than 40 MB" in (refused.value.details() or "")


async def test_an_update_without_a_time_is_refused(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()
        soon = Timestamp(seconds=int(clock.now().timestamp()) + 3600)
        sent = await service.SendEmail(
            pb.SendEmailRequest(email=email(scheduled_at=soon)), metadata=credentials(harness)
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.UpdateEmail(
                pb.UpdateEmailRequest(id=sent.id), metadata=credentials(harness)
            )
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "scheduled_at" in (refused.value.details() or "")


async def test_refusals_have_grpc_status_codes(harness: IngestHarness) -> None:
    async with harness.shared(), stub(harness) as service:
        await harness.sign_up()

        async def refusal(request: Message, method: str) -> tuple[grpc.StatusCode, str]:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await getattr(service, method)(request, metadata=credentials(harness))
            return refused.value.code(), refused.value.details() or ""

        code, words = await refusal(pb.ListEmailsRequest(page_token="x"), "ListEmails")
        assert (code, "page_token" in words) == (INVALID, True)
        code, words = await refusal(pb.GetEmailRequest(id="x" * 100_000), "GetEmail")
        assert (code, "larger than 64 KB" in words) == (INVALID, True)
        file = Attachment(filename="a.bin", content=bytes(60 * 1024 * 1024))
        code, _ = await refusal(pb.SendEmailRequest(email=email(attachments=[file])), "SendEmail")
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_reflection_requires_a_key(harness: IngestHarness) -> None:
    async with harness.shared(), channel_to(harness) as channel:
        await harness.sign_up()
        info = ServerReflectionStub(channel).ServerReflectionInfo
        requests = [ServerReflectionRequest(list_services="")]
        responses = [one async for one in info(iter(requests), metadata=credentials(harness))]
        names = {one.name for one in responses[0].list_services_response.service}
        assert "contracts.ingest.v1.EmailService" in names
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [one async for one in info(iter(requests))]
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_health_check_needs_no_key(harness: IngestHarness) -> None:
    async with harness.shared(), channel_to(harness) as channel:
        response = await HealthStub(channel).Check(HealthCheckRequest(service="any"))
        assert response.status == HealthCheckResponse.SERVING
