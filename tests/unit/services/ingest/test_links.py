"""What an email has of tracking and unsubscribing: its request, its domain, its brand."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ingest.v1.content_pb2 import Tracking, Unsubscribe
from contracts.ingest.v1.directory_pb2 import Domain, DomainStatus
from kernel.brand import Brand
from mail.unsubscribe import unsubscribe_fields
from services.ingest.domain.email import (
    UNSUBSCRIBE_MAILTO,
    UNSUBSCRIBE_URL,
    SendEmailRequest,
    SendRawRequest,
    decode_email,
    decode_raw,
)
from services.ingest.domain.links import (
    check_tracking_host,
    freeze_links,
    may_have_links,
    mode_named,
    name_of_mode,
)
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem
from services.ingest.domain.raw_request import validate_raw
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.domain.valid_email import ValidEmail, validate

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
BRAND = Brand(tracking_host="links.example", unsubscribe_host="leave.example")
ON = Domain(name="shop.example", open_tracking=True, click_tracking=True)
OFF = Domain(name="shop.example")


def read(**changes: Any) -> ValidEmail:  # noqa: ANN401 - JSON
    given = {"from": "a@shop.example", "to": "b@y.net", "subject": "Hi", "html": "<p>x</p>"}
    return validate(msgspec.convert(given | changes, SendEmailRequest), NOW, test=True)


def read_raw(**changes: Any) -> ValidEmail:  # noqa: ANN401 - JSON
    given = {"raw": "RnJvbTogYUBzaG9wLmV4YW1wbGUNClRvOiBiQHkubmV0DQoNCng="}
    return validate_raw(msgspec.convert(given | changes, SendRawRequest), NOW, test=True)


def frozen(email: ValidEmail, domain: Domain = ON, brand: Brand = BRAND) -> ValidEmail:
    if may_have_links(email, domain):
        freeze_links(email, domain, brand)
    return email


def refusal(email: ValidEmail, domain: Domain = ON, brand: Brand = BRAND) -> tuple[str, str]:
    with pytest.raises(Problem) as refused:
        frozen(email, domain, brand)
    assert refused.value.status == 422
    return refused.value.name, refused.value.faults[0].pointer


@pytest.mark.parametrize(
    ("fields", "domain", "opens", "clicks"),
    [
        ({}, ON, True, True),
        ({}, OFF, False, False),
        ({"track_opens": False}, ON, False, True),
        ({"track_opens": False, "track_clicks": False}, ON, False, False),
        ({"track_opens": True}, Domain(open_tracking=True), True, False),
        ({"track_clicks": False}, OFF, False, False),
    ],
)
def test_the_domain_decides_unless_the_email_does(
    fields: dict[str, bool], domain: Domain, opens: bool, clicks: bool
) -> None:
    own = Domain(untracked_hosts=["bank.example"])
    own.MergeFrom(domain)
    content = frozen(read(**fields), own).content
    expected = Tracking(
        host="links.example",
        opens=opens,
        clicks=clicks,
        excluded_hosts=["bank.example"],
        mode=mode_named("identified"),
    )
    assert content.HasField("tracking") is (opens or clicks)
    assert content.tracking == (expected if opens or clicks else Tracking())


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({}, True),
        ({"tracking_verified": False}, False),
        ({"tracking_host": ""}, False),
        ({"status": DomainStatus.DOMAIN_STATUS_PENDING}, False),
        ({"paused": True}, False),
    ],
)
def test_the_hosts_are_the_domains_own_once_it_is_proven(
    changes: dict[str, Any], own: bool
) -> None:
    fields: dict[str, Any] = {
        "status": DomainStatus.DOMAIN_STATUS_VERIFIED,
        "tracking_host": "links.shop.example",
        "tracking_verified": True,
    }
    domain = Domain(name="shop.example", click_tracking=True, **fields | changes)
    email = read(stream="broadcast")
    hosts = LinkHosts(lambda _: None, is_certified=False)
    freeze_links(email, domain, BRAND, own_host=hosts.own_host(domain, NOW))
    content = email.content
    found = content.tracking.host, content.unsubscribe.host
    assert found == (("links.shop.example",) * 2 if own else ("links.example", "leave.example"))


@pytest.mark.parametrize(
    ("most", "given", "kept"),
    [("", None, "identified"), ("full", None, "full"), ("full", "anonymous", "anonymous"),
     ("pseudonymous", "pseudonymous", "pseudonymous"), ("", "full", None),
     ("anonymous", "pseudonymous", None)],
)  # fmt: skip
def test_an_email_keeps_what_its_domain_keeps_or_less(
    most: str, given: str | None, kept: str | None
) -> None:
    domain = Domain(click_tracking=True)
    if most:
        domain.tracking_mode = mode_named(most)
    if kept is None:
        pointer = "#/tracking_mode"
        assert refusal(read(tracking_mode=given), domain) == ("tracking_not_allowed", pointer)
    else:
        content = frozen(read(tracking_mode=given), domain).content
        assert name_of_mode(content.tracking.mode) == kept


@pytest.mark.parametrize("name", ["track_opens", "track_clicks"])
def test_what_the_domain_does_not_allow_is_refused(name: str) -> None:
    for email in (read(**{name: True}), read_raw(**{name: True})):
        assert refusal(email, OFF) == ("tracking_not_allowed", f"#/{name}")


def test_a_submitted_message_is_tracked_on_request_only() -> None:
    assert not frozen(read_raw()).content.HasField("tracking")
    content = frozen(read_raw(track_clicks=True)).content
    assert content.tracking == Tracking(
        host="links.example", clicks=True, mode=mode_named("identified")
    )


def test_without_a_host_nothing_is_tracked() -> None:
    assert not frozen(read(), brand=Brand()).content.HasField("tracking")
    assert refusal(read(track_opens=True), brand=Brand()) == (
        "tracking_not_allowed",
        "#/track_opens",
    )
    with pytest.raises(Problem) as refused:
        check_tracking_host(Brand(), open_tracking=None, click_tracking=True)
    assert refused.value.faults[0].pointer == "#/click_tracking"
    check_tracking_host(Brand(), open_tracking=False, click_tracking=None)


def test_a_broadcast_has_a_url_to_unsubscribe_without_a_request() -> None:
    email = frozen(read(stream="broadcast"), OFF)
    assert email.content.unsubscribe == Unsubscribe(host="leave.example", one_click=True)
    assert not frozen(read(), OFF).content.HasField("unsubscribe")
    raw = frozen(read_raw(stream="broadcast"), OFF)
    assert raw.content.unsubscribe.host == "leave.example"
    to_list = frozen(read(list="news"), OFF)
    assert to_list.content.unsubscribe.list == "news"
    shared = frozen(read(stream="broadcast"), OFF, Brand(tracking_host="links.example"))
    assert shared.content.unsubscribe.host == "links.example"


@pytest.mark.parametrize("given", [{}, {"mailto": "leave@shop.example"}, {"one_click": False}])
@pytest.mark.parametrize("stream", [{}, {"stream": "transactional"}])
@pytest.mark.parametrize("request_of", [read, read_raw])
def test_transactional_mail_cannot_have_a_url_that_does_not_stop_it(
    request_of: Callable[..., ValidEmail], stream: dict[str, str], given: dict[str, object]
) -> None:
    with pytest.raises(Problem) as refused:
        request_of(list_unsubscribe=given, **stream)
    assert (refused.value.status, refused.value.name) == (422, "validation_error")
    assert [one.pointer for one in refused.value.faults] == ["#/list_unsubscribe"]
    own = {**given, "url": "https://own.example/l"}
    assert request_of(list_unsubscribe=own, **stream).stream == "transactional"


def test_the_fields_are_as_requested() -> None:
    given = {"mailto": "leave@shop.example", "one_click": False}
    email = frozen(read(list_unsubscribe=given, stream="broadcast"), OFF)
    assert email.content.unsubscribe == Unsubscribe(
        host="leave.example", mailto="leave@shop.example"
    )
    own = frozen(read(list_unsubscribe={"url": "https://own.example/l"}), OFF, Brand())
    assert own.content.unsubscribe == Unsubscribe(url="https://own.example/l", one_click=True)


def test_without_a_host_a_broadcast_goes_without_the_url_but_not_with_a_placeholder() -> None:
    email = frozen(read(stream="broadcast"), OFF, Brand())
    assert not email.content.HasField("unsubscribe")
    for name in ("html", "text"):
        email = read(stream="broadcast", **{name: "<{{unsubscribe_url}}>"})
        assert refusal(email, OFF, Brand()) == ("validation_error", f"#/{name}")
    assert refusal(read(list_unsubscribe={}, list="news"), OFF, Brand()) == (
        "missing_required_field",
        "#/list_unsubscribe/url",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", "http://own.example/"),
        ("url", "https://own.example/\r\nX: y"),
        ("url", "https://own.example/a,b"),
        ("url", f"https://own.example/{'x' * 900}"),
        ("mailto", "leave"),
        ("mailto", "mailto:"),
        ("mailto", "a b@own.example"),
    ],
)
def test_an_invalid_target_is_refused_with_a_pointer(name: str, value: str) -> None:
    body = {"from": "a@x.net", "to": "b@y.net", "subject": "x", "list_unsubscribe": {name: value}}
    raw = {"raw": "", "list_unsubscribe": {name: value}}
    for decode, fields in ((decode_email, body), (decode_raw, raw)):
        with pytest.raises(Problem) as refused:
            decode_body(decode, json.dumps(fields).encode())
        assert [one.pointer for one in refused.value.faults] == [f"#/list_unsubscribe/{name}"]


@given(
    st.from_regex(UNSUBSCRIBE_URL, fullmatch=True).filter(lambda url: len(url) <= 900),
    st.from_regex(UNSUBSCRIBE_MAILTO, fullmatch=True).filter(lambda url: len(url) <= 900),
)
def test_every_target_that_is_accepted_can_be_sent(url: str, mailto: str) -> None:
    assert max(map(len, unsubscribe_fields(url, mailto)[0].split(b"\r\n"))) <= 998


def test_a_header_of_the_sender_and_the_field_are_not_combined() -> None:
    with pytest.raises(Problem) as refused:
        read(
            headers={"list-Unsubscribe": "<https://own.example/>"},
            list_unsubscribe={},
            stream="broadcast",
        )
    assert [one.pointer for one in refused.value.faults] == ["#/list_unsubscribe"]
