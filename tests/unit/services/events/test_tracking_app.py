"""The listener of links in mail, byte by byte."""

import asyncio
import re
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.brand import Brand, Brands
from mail import tracking
from mail.tracking import Click
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.domain.hit import HitKind
from tests.support.link_listener import (
    CLICK,
    KEY,
    LEAVE,
    MESSAGE,
    OLD,
    OPEN,
    TENANT,
    URL,
    URLENCODED,
    Listener,
    MemoryRecorder,
    header,
    request,
)

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
)


async def status_of(listener: Listener, *args: Any, **kwargs: Any) -> int:  # noqa: ANN401
    return int((await listener.exchange(request(*args, **kwargs))).split(b" ", 2)[1])


def fields_of(response: bytes) -> bytes:
    """Without the date."""
    return re.sub(rb"date: [^\r]*", b"", response.partition(b"\r\n\r\n")[0])


async def test_a_click_leads_to_the_original_url() -> None:
    response = await (listener := Listener()).exchange(request(f"/c/{CLICK}"))
    assert response.startswith(b"HTTP/1.1 302")
    assert header(response, "location") == URL
    assert header(response, "cache-control") == "no-store"
    assert header(response, "referrer-policy") == "no-referrer"
    assert not header(response, "set-cookie")
    [hit] = listener.hits
    assert (hit.kind, hit.target, hit.method) == (HitKind.CLICK, URL, "GET")
    assert (hit.tenant_id, hit.message_id) == (str(TENANT), str(MESSAGE))
    assert hit.ip == "192.0.2.0/24"


async def test_a_pixel_is_a_gif_that_nobody_caches() -> None:
    response = await (listener := Listener()).exchange(request(f"/o/{OPEN}.gif"))
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-type: image/gif" in head
    assert b"cache-control: no-store" in head
    assert body.startswith(b"GIF89a\x01\x00\x01\x00")
    assert [hit.kind for hit in listener.hits] == [HitKind.OPEN]


async def test_head_is_answered_like_get_and_flagged() -> None:
    listener = Listener()
    for path in (f"/c/{CLICK}", f"/o/{OPEN}.gif"):
        head = await listener.exchange(request(path, "HEAD"))
        get = await listener.exchange(request(path))
        dateless = [
            re.sub(rb"date: [^\r]*", b"", one.partition(b"\r\n\r\n")[0]) for one in (head, get)
        ]
        assert dateless[0] == dateless[1]
        assert head.endswith(b"\r\n\r\n")
    assert [hit.machine_reason for hit in listener.hits] == ["head_request", "", "head_request", ""]


async def test_tokens_of_older_keys_are_valid() -> None:
    old = tracking.click_token(Click(TENANT, MESSAGE, URL), OLD)
    assert await status_of(Listener(), f"/c/{old}") == 302


@given(
    st.from_regex(r"https?://[a-zäß0-9]{1,20}\.example(/[!-~]{0,200})?", fullmatch=True).filter(
        tracking.is_trackable
    )
)
def test_any_url_in_ascii_is_the_location_byte_for_byte(url: str) -> None:
    token = tracking.click_token(Click(TENANT, MESSAGE, url), KEY)
    location = header(asyncio.run(Listener().exchange(request(f"/c/{token}"))), "location")
    assert location == (
        url if url.isascii() else tracking.redirect_location(Click(TENANT, MESSAGE, url))
    )


async def test_the_longest_url_is_followed() -> None:
    longest = "https://shop.example/" + "x" * (tracking.MAX_URL - 21)
    token = tracking.click_token(Click(TENANT, MESSAGE, longest), KEY)
    response = await Listener().exchange(request(f"/c/{token}"))
    assert header(response, "location") == longest


async def test_ten_thousand_changed_tokens_are_not_found() -> None:
    listener, chance = Listener(), Random(7)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=%~"
    for name, token in (("c", CLICK), ("o", OPEN), ("u", LEAVE)):
        for _ in range(3_334):
            changed = mutate(token, chance, letters)
            path = f"/{name}/{changed}"
            if changed in (token, f"{token}.gif"):
                continue
            response = await listener.exchange(request(path))
            assert response.startswith(b"HTTP/1.1 404"), path
    assert listener.hits == []


def mutate(token: str, chance: Random, letters: str) -> str:
    at = chance.randrange(len(token))
    match chance.randrange(4):
        case 0:
            return token[:at] + chance.choice(letters) + token[at + 1 :]
        case 1:
            return token[:at]
        case 2:
            return token[:at] + token[at + 1 :]
        case _:
            return token[:at] + chance.choice(letters) + token[at:]


async def test_a_token_is_valid_for_its_purpose_only() -> None:
    listener = Listener()
    for path in (f"/o/{CLICK}.gif", f"/u/{CLICK}", f"/c/{OPEN}", f"/u/{OPEN}", f"/c/{LEAVE}"):
        assert await status_of(listener, path) == 404
    assert listener.hits == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_reading_the_page_changes_nothing(method: str) -> None:
    listener = Listener(brands=Brands({"default": Brand("Acme <Mail>", "acme")}))
    response = await listener.exchange(request(f"/u/{LEAVE}", method))
    assert response.startswith(b"HTTP/1.1 200")
    if method == "GET":
        assert b"offers &amp; more" in response
        assert b"Acme &lt;Mail&gt;" in response
        assert b'<html lang="en">' in response
        assert b'<form method="post">' in response
        assert b"<script" not in response
    assert "form-action 'self'" in header(response, "content-security-policy")
    assert listener.hits == []


@pytest.mark.parametrize(
    ("kind", "body", "method"),
    [
        (URLENCODED, b"List-Unsubscribe=One-Click", "one_click"),
        (b"multipart/form-data; boundary=x", FORM, "one_click"),
        (URLENCODED, b"unsubscribe=page", "page"),
    ],
)
async def test_a_post_unsubscribes_without_a_redirect(
    kind: bytes, body: bytes, method: str
) -> None:
    listener = Listener()
    for _ in range(2):
        response = await listener.exchange(request(f"/u/{LEAVE}", "POST", body=body, kind=kind))
        assert response.startswith(b"HTTP/1.1 200")
        assert not header(response, "location")
        assert not header(response, "set-cookie")
    assert {(hit.kind, hit.method, hit.target, hit.recipient) for hit in listener.hits} == {
        (HitKind.UNSUBSCRIBE, method, "offers & more", "ann@example.net")
    }
    assert len({hit.key for hit in listener.hits}) == 1


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        (f"/u/{LEAVE}", "POST", b"", 400),
        (f"/u/{LEAVE}", "POST", b"List-Unsubscribe=No", 400),
        (f"/u/{LEAVE}", "POST", b"x" * 70_000, 413),
        (f"/c/{CLICK}", "POST", b"", 405),
        (f"/o/{OPEN}.gif", "DELETE", b"", 405),
        (f"/u/{LEAVE}", "PUT", b"", 405),
        ("/", "GET", b"", 404),
        ("/c/", "GET", b"", 404),
        ("/u/../c/", "GET", b"", 404),
        ("/favicon.ico", "GET", b"", 404),
        ("/robots.txt", "GET", b"", 200),
    ],
)
async def test_other_requests_are_refused(path: str, method: str, body: bytes, status: int) -> None:
    listener = Listener()
    assert await status_of(listener, path, method, body=body, kind=URLENCODED) == status
    assert listener.hits == []


BRANDS = Brands(
    {
        "acme": Brand("Acme", "acme", tracking_host="t.acme.test", unsubscribe_host="u.acme.test"),
        "api": Brand("Api", "api", api_hosts=("api.other.test",)),
    }
)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("t.acme.test", 302),
        ("u.acme.test:443", 302),
        ("T.ACME.test", 302),
        ("127.0.0.1:8029", 302),
        ("api.other.test", 421),
        ("unknown.test", 421),
    ],
)
async def test_only_hosts_of_links_are_served(host: str, status: int) -> None:
    assert await status_of(Listener(brands=BRANDS), f"/c/{CLICK}", host=host) == status


@pytest.mark.parametrize("host", ["links.shop.test", "LINKS.shop.test.:80"])
async def test_the_host_of_a_domain_is_served_in_its_brand(host: str) -> None:
    listener = Listener(brands=BRANDS)
    listener.put_host("links.shop.test", "t.acme.test")
    assert await status_of(listener, f"/c/{CLICK}", host=host) == 302
    page = await listener.exchange(request(f"/u/{LEAVE}", host=host))
    assert b"<footer>Acme</footer>" in page
    assert await status_of(listener, f"/c/{CLICK}", host="x.links.shop.test") == 421


async def test_no_host_is_refused_before_the_brands_are_known() -> None:
    listener = Listener(brands=BRANDS)
    listener.app._hosts = LinkHostRegistry(BRANDS, lambda _: "", lambda: False)
    assert await status_of(listener, f"/c/{CLICK}", host="unknown.test") == 302


async def test_links_lead_on_when_hits_cannot_be_stored() -> None:
    listener = Listener(MemoryRecorder(full=True))
    assert await status_of(listener, f"/c/{CLICK}") == 302
    assert await status_of(listener, f"/o/{OPEN}.gif") == 200
    body = b"List-Unsubscribe=One-Click"
    assert await status_of(listener, f"/u/{LEAVE}", "POST", body=body, kind=URLENCODED) == 503


CUT = request(f"/u/{LEAVE}", "POST", body=b"List-Unsubscribe=One-Click", kind=URLENCODED)


async def test_a_request_may_be_cut_anywhere() -> None:
    for at in range(1, len(CUT)):
        listener = Listener()
        response = await listener.exchange(CUT[:at], CUT[at:])
        assert response.startswith(b"HTTP/1.1 200"), at
        assert len(listener.hits) == 1
        assert await listener.exchange(CUT[:at]) == b""  # it ends there
        assert len(listener.hits) == 1


async def test_changed_requests_never_fail_inside() -> None:
    chance, requests = Random(11), [CUT, request(f"/c/{CLICK}"), request(f"/o/{OPEN}.gif", "HEAD")]
    for _ in range(3_000):
        data = bytearray(chance.choice(requests))
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        response = await Listener().exchange(bytes(data))
        for status in re.findall(rb"HTTP/1\.1 (\d\d\d)", response):
            assert int(status) < 500 or status == b"501", bytes(data)


async def test_what_is_remembered_of_a_hit_is_short() -> None:
    """Repeats are known for a while, and a link can have 4,096 octets."""
    listener = Listener()
    for end in "ab":
        long = "https://shop.example/" + "x" * 4_000 + end
        token = tracking.click_token(Click(TENANT, MESSAGE, long), KEY)
        for _ in range(2):
            assert await status_of(listener, f"/c/{token}") == 302
    keys = [hit.key for hit in listener.hits]
    assert len(set(keys)) == 2
    assert max(len(repr(key)) for key in keys) < 200
