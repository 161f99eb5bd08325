"""Hits are on a disk before they are answered, and the disk is bounded."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from uvicorn.server import ServerState

from kernel.http_server import HttpProtocol
from mail import tracking
from mail.tracking import Click
from services.events.api.tracking.recorder import HitRecorder
from services.events.domain.hit import RecordedHit, decode_hit
from services.events.store.hit_spool import HitSpool, SpoolPosition
from tests.support.fake_transport import FakeTransport
from tests.support.link_listener import (
    CLICK,
    KEY,
    LEAVE,
    MESSAGE,
    TENANT,
    URL,
    URLENCODED,
    Listener,
    header,
    request,
)

CUT = request(f"/u/{LEAVE}", "POST", body=b"List-Unsubscribe=One-Click", kind=URLENCODED)


async def test_hits_are_on_the_disk_before_they_are_answered_and_repeats_once(
    tmp_path: Path,
) -> None:
    spool = HitSpool(tmp_path, bytes_max=1_000_000)
    listener = Listener(HitRecorder(spool))
    for _ in range(3):
        response = await exchange_in_thread(listener, request(f"/c/{CLICK}"))
        assert response.startswith(b"HTTP/1.1 302")
        assert [one.target for one in hits_of(spool)] == [URL]
    spool.close()


async def test_a_full_spool_keeps_room_for_unsubscriptions(tmp_path: Path) -> None:
    spool = HitSpool(tmp_path, bytes_max=4_000)
    recorder = HitRecorder(spool)
    stored = 0
    for number in range(100):
        url = f"https://shop.example/{number}"
        token = tracking.click_token(Click(TENANT, MESSAGE, url), KEY)
        response = await exchange_in_thread(Listener(recorder), request(f"/c/{token}"))
        assert header(response, "location") == url
        stored = len(hits_of(spool))
    assert 5 < stored < 40
    assert spool.size < 4_000
    response = await exchange_in_thread(Listener(recorder), CUT)
    assert response.startswith(b"HTTP/1.1 200")
    assert len(hits_of(spool)) == stored + 1
    spool.close()


async def exchange_in_thread(listener: Listener, data: bytes) -> bytes:
    """With the time that the disk takes."""
    transport = FakeTransport()
    protocol = HttpProtocol(listener.config, ServerState(), {})
    protocol.connection_made(transport)
    protocol.data_received(data)
    await asyncio.gather(*protocol.tasks)
    protocol.connection_lost(None)
    return b"".join(transport.writes)


def hits_of(spool: HitSpool) -> Sequence[RecordedHit]:
    position = spool.skip_ended(SpoolPosition())
    return [decode_hit(one.data) for one in spool.read(position, 1_000)]
