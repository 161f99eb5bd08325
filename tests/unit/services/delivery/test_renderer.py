"""The order in which the renderer takes up messages."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS, MessageContext, Priority
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.content import ContentNotFound, ContentStore
from services.delivery.clients.rendering_keys import RenderingKeys
from services.delivery.loops.congestion import CONGESTED_AFTER_S
from services.delivery.loops.rendering import INLINE_BYTES_MAX, Renderer


class EmptyStore:
    """Takes a moment for each batch."""

    async def get_many(self, refs: Sequence[str]) -> list[ContentNotFound]:
        await asyncio.sleep(0.001)
        return [ContentNotFound(ref) for ref in refs]


class SlowStore(EmptyStore):
    """Takes twice as long as mail may wait, by a clock that only it moves."""

    def __init__(self, now_s: list[float]) -> None:
        self._now_s = now_s

    async def get_many(self, refs: Sequence[str]) -> list[ContentNotFound]:
        self._now_s[0] += 2 * CONGESTED_AFTER_S
        return await super().get_many(refs)


class Keys:
    def check(self, _: MessageContext) -> None: ...

    def content_key(self, _: str) -> bytes:
        return b""

    def signer(self, _: str) -> object:
        return object()


@pytest.mark.parametrize("size", [1, INLINE_BYTES_MAX + 1])
async def test_express_mail_does_not_wait_for_all_bulk_mail(size: int) -> None:
    renderer = Renderer(cast(ContentStore, EmptyStore()), cast(RenderingKeys, Keys()))
    done: list[str] = []

    async def render(name: str, priority: Priority.ValueType) -> None:
        context = MessageContext(
            email_id=name, content_ref=name, content_bytes=size, priority=priority
        )
        await renderer.render(DeliveryAssigned(context=context))
        done.append(name)

    async with asyncio.TaskGroup() as tasks:
        for number in range(300):
            tasks.create_task(render(f"bulk{number}", PRIORITY_BULK))
        await asyncio.sleep(0)
        tasks.create_task(render("express", PRIORITY_EXPRESS))
    assert done.index("express") < 150


@pytest.mark.parametrize("size", [1, INLINE_BYTES_MAX + 1])
async def test_a_slow_store_is_no_congestion(size: int, now_s: list[float]) -> None:
    renderer = Renderer(cast(ContentStore, SlowStore(now_s)), cast(RenderingKeys, Keys()))
    context = MessageContext(content_bytes=size, priority=PRIORITY_BULK)

    await renderer.render(DeliveryAssigned(context=context))

    assert not renderer.congestion.is_congested
