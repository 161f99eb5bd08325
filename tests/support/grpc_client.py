"""Calls the RPCs of the public API by name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from tests.support.ingest import IngestHarness
from tests.support.known_keys import ACCESS
from tests.support.public_rpcs import Rpc, rpcs, services_with

RPCS = {one.method.name: one for one in rpcs(services_with(ACCESS))}


class Client:
    """Calls RPCs by name."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(self, name: str, key: str, tenant: str = "", /, **fields: object) -> Any:  # noqa: ANN401 - its response
        rpc: Rpc = RPCS[name]
        method: Any = self._channel.unary_unary(
            f"/{rpc.service}/{name}",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=GetMessageClass(rpc.method.output_type).FromString,
        )
        metadata = (("authorization", f"Bearer {key}"), ("x-tenant-id", tenant))
        return await method(rpc.request(**fields), metadata=metadata, timeout=60)

    async def refusal(
        self, name: str, key: str, tenant: str = "", /, **fields: object
    ) -> tuple[str, str, list[str]]:
        """Reason, text and fields."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.call(name, key, tenant, **fields)
        status = rpc_status.from_call(refused.value)
        assert status is not None, refused.value
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            detail.Unpack(info)
            detail.Unpack(bad)
        return info.reason, status.message, [one.field for one in bad.field_violations]


@asynccontextmanager
async def client(harness: IngestHarness) -> AsyncIterator[Client]:
    address = f"127.0.0.1:{harness.ports.ingest_grpc}"
    async with harness.running(), grpc.aio.insecure_channel(address) as channel:
        yield Client(channel)


def fields_of(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)


def without_nothing(shown: Any) -> Any:  # noqa: ANN401 - JSON
    """JSON without what a protobuf message does not tell apart from nothing."""
    if isinstance(shown, list):
        return [without_nothing(one) for one in shown]
    if not isinstance(shown, dict):
        return shown
    inner = {name: without_nothing(one) for name, one in shown.items() if name != "object"}
    return {name: one for name, one in inner.items() if one not in (None, False, [], "")}
