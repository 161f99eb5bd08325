"""Suppressions as clients of the router see them: by its RPCs, and in what it publishes."""

from collections.abc import Awaitable, Callable
from typing import Any

from contracts.router.v1 import router_service_pb2 as pb
from contracts.router.v1.events_pb2 import SuppressionChanged
from tests.support.router import RouterHarness

ADDRESS = "ann@x.site-a.test"
Call = Callable[..., Awaitable[Any]]


class Suppressions:
    """Those of a tenant or of an account."""

    def __init__(self, call: Call, stub: Any, **owner: Any) -> None:  # noqa: ANN401
        self._call = call
        self._stub = stub
        self.owner = owner

    async def add(
        self,
        *suppressions: pb.NewSuppression,
        silent: bool = False,
        **fields: Any,  # noqa: ANN401 - a protobuf's
    ) -> Any:  # noqa: ANN401 - likewise
        """Without suppressions, one of ADDRESS with these fields."""
        given = suppressions or (pb.NewSuppression(**{"address": ADDRESS, **fields}),)
        request = pb.AddSuppressionsRequest(
            **self.owner, suppressions=given, added_by="key", silent=silent
        )
        return await self._call(self._stub.AddSuppressions, request)

    async def add_one(self, **fields: Any) -> pb.Suppression:  # noqa: ANN401 - a protobuf's
        one: pb.Suppression = (await self.add(**fields)).suppressions[0]
        return one

    async def listed(self, **fields: Any) -> list[pb.Suppression]:  # noqa: ANN401 - likewise
        request = pb.ListSuppressionsRequest(**{"limit": 100, **self.owner, **fields})
        return list((await self._call(self._stub.ListSuppressions, request)).suppressions)

    async def remove(self, *names: str, **fields: Any) -> Any:  # noqa: ANN401 - likewise
        request = pb.RemoveSuppressionsRequest(
            **self.owner, addresses=names, removed_by="key", **fields
        )
        return await self._call(self._stub.RemoveSuppressions, request)


def published(harness: RouterHarness) -> list[tuple[str, str, str]]:
    """The distinct changes that were published: address, change and origin."""
    return [*dict.fromkeys((one.address, one.change, one.origin) for one in changes(harness))]


def changes(harness: RouterHarness) -> list[SuppressionChanged]:
    """Of the harness's tenant."""
    found = [one for one in harness.events if isinstance(one, SuppressionChanged)]
    return [one for one in found if one.tenant_id == harness.tenant_id]
