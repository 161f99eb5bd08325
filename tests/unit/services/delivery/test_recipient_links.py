"""Tracking links, pixels and unsubscribe URLs in the messages of several recipients."""

import base64
import re
from binascii import b2a_qp
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from html import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from contracts.ingest.v1.content_pb2 import Header, Tracking, Unsubscribe
from mail import tracking, unsubscribe
from mail.smtp import normalize_line_endings
from mail.tracking import Click, PixelOpen
from mail.unsubscribe import Subscription
from services.delivery.domain.recipient_links import LINKS_MAX
from tests.support.linked_mail import (
    ANN,
    BOB,
    KEY,
    LEAVE,
    TENANT,
    TOKEN,
    URL,
    body_of,
    check_signatures,
    content,
    hrefs_in,
    hrefs_of,
    parsed,
    read_link,
    render,
    unstuffed,
    wire_of,
    with_single_recipient,
)


def test_links_and_pixel_have_tokens_of_the_message() -> None:
    page = f'<p><a href="{escape(URL)}">y</a> <a href="mailto:a@b.example">z</a></p></body>'
    raw = wire_of(content(page))
    link, other = hrefs_of(raw)
    assert read_link(link) == Click(TENANT, ANN, URL)
    assert other == "mailto:a@b.example"
    [pixel] = LexborHTMLParser(body_of(raw)).css("img")
    source = str(pixel.attrs["src"])
    assert source.startswith("https://links.example/o/")
    token = source.removeprefix("https://links.example/o/").removesuffix(".gif")
    assert tracking.read_open(token, (KEY,)) == PixelOpen(TENANT, ANN)
    assert "</body>" in body_of(raw).partition("<img")[2]
    assert URL in body_of(raw, "plain")
    check_signatures(raw)


@pytest.mark.parametrize(
    "page",
    [
        f'<p>Grüße  {"x " * 100}\n.\nFrom me \n<a href="{URL}">y</a>\t\n</p>\n\n',
        f"<a href={URL}>y</a><a href='{URL}'>y</a>",
        f'.<a href="{URL}">y</a>{{{{unsubscribe_url}}}}{{{{unsubscribe_url}}}}',
        "日本語" * 500 + f'<a href="{URL}">y</a>',
    ],
)
def test_each_message_verifies_and_they_differ_in_tokens_only(page: str) -> None:
    given = content(
        page, headers=[Header(name=".x", value="1")], unsubscribe=Unsubscribe(host="links.example")
    )
    one, other = wire_of(given, ANN), wire_of(given, BOB)
    for raw in (one, other):
        check_signatures(raw)
    assert one != other
    ours, theirs = map(without_tokens, (one, other))
    assert ours == theirs
    assert len(one) == len(other)


def without_tokens(raw: bytes) -> bytes:
    """Without soft line breaks, too, and what is signed: the Message-ID and the signatures."""
    unsigned = re.sub(rb"DKIM-Signature:.*\r\n(?:\t.*\r\n)*|Message-ID:.*\r\n", b"", raw)
    return TOKEN.sub(rb"\1", unsigned.replace(b"=\r\n", b""))


def test_an_email_to_a_single_recipient_has_the_tokens_of_no_other_message() -> None:
    given = with_single_recipient(content(f'<a href="{URL}">y</a>', unsubscribe=LEAVE))
    raw = unstuffed(render(given))
    check_signatures(raw)
    [link] = hrefs_of(raw)
    assert read_link(link) == Click(TENANT, ANN, URL)
    assert unstuffed(render(given)) == raw
    with pytest.raises(ValueError, match="another message"):
        render(given, BOB)


def test_a_retry_sends_the_same_message() -> None:
    given = content(f'<a href="{URL}">y</a>')
    assert wire_of(given) == wire_of(given)


URLS = st.builds(
    "{}://{}/{}{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["x.example", "bücher.example", "u:p@x.example:8080", "[::1]"]),
    st.text(st.sampled_from("/?#&=;@,|!'()%é20~+$*:[]^`{}\"<>amp"), max_size=60),
    st.sampled_from(["", "#part", "?a=1&copy=2&amp;b", "x" * 4000]),
).filter(tracking.is_trackable)
TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="<&{"), max_size=100
)


@given(st.lists(st.tuples(TEXT, URLS), max_size=5), TEXT)
def test_every_link_leads_where_it_led(links: list[tuple[str, str]], end: str) -> None:
    page = "".join(f'{text}<a class=b href="{escape(url)}">y</a>' for text, url in links)
    raw = wire_of(content(f"<p>{page}{end}</p>", text=""))
    found = hrefs_of(raw)
    assert [read_link(href) for href in found] == [Click(TENANT, ANN, url) for _, url in links]
    assert [tracking.redirect_location(Click(TENANT, ANN, url)) for _, url in links] == [
        tracking.redirect_location(click) for href in found if (click := read_link(href))
    ]
    assert max(map(len, raw.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "attributes",
    [
        'href="https://links.example/c/x"',
        'href="https://u.example/u/x"',
        'href="https://own.example/leave?a=1&amp;b=2"',
        'href="https://own.example/header"',
        'href="{{unsubscribe_url}}"',
        'href="https://x.example/?next={{unsubscribe_url}}"',
        f'href="{URL}" data-track="off"',
    ],
)
def test_links_that_unsubscribe_or_are_switched_off_are_not_tracked(attributes: str) -> None:
    given = content(
        f"<p><a {attributes}>y</a></p>",
        headers=[Header(name="List-unsubscribe", value="<https://own.example/header>")],
        unsubscribe=Unsubscribe(host="u.example", url="https://own.example/leave?a=1&b=2"),
    )
    assert "links.example/c/" not in body_of(wire_of(given)).replace(
        "https://links.example/c/x", ""
    )


@pytest.mark.parametrize(("opens", "clicks"), [(True, False), (False, True)])
def test_opens_and_clicks_are_tracked_apart(opens: bool, clicks: bool) -> None:
    on = Tracking(host="links.example", opens=opens, clicks=clicks)
    page = body_of(wire_of(content(f'<a href="{URL}">y</a>', tracking=on)))
    assert ("links.example/o/" in page, "links.example/c/" in page) == (opens, clicks)


def test_text_alone_has_nothing_to_track() -> None:
    given = content("", text=f"see {URL}")
    assert b"links.example" not in wire_of(given)


def test_one_click_fields_are_added_and_signed() -> None:
    given = content("<p>x</p>", unsubscribe=Unsubscribe(
        host="u.example", list="news", mailto="leave@sender.example", one_click=True
    ))  # fmt: skip
    raw = wire_of(given)
    message = parsed(raw)
    url, mailto = str(message["List-Unsubscribe"]).split(", ")
    token = url.removeprefix("<https://u.example/u/").removesuffix(">")
    assert unsubscribe.verify(token, (KEY,)) == Subscription(
        TENANT, ANN, "news", "ann@receiver.example"
    )
    assert mailto == "<mailto:leave@sender.example>"
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    for field in message.get_all("DKIM-Signature", []):
        names = re.sub(r"\s", "", re.split(r"\Wh=", field)[1].partition(";")[0]).split(":")
        assert names.count("list-unsubscribe") == names.count("list-unsubscribe-post") == 2
    check_signatures(raw)


@pytest.mark.parametrize("name", ["List-Unsubscribe", "LIST-UNSUBSCRIBE-POST"])
def test_fields_of_the_sender_are_kept_and_not_doubled(name: str) -> None:
    own = Header(name=name, value="<https://own.example/leave>")
    given = content("<p>x</p>", headers=[own], unsubscribe=Unsubscribe(host="u.example"))
    names = [field.lower() for field in parsed(wire_of(given)).keys()]  # noqa: SIM118 - repeated
    assert [one for one in names if one.startswith("list-")] == [name.lower()]


def test_the_placeholder_becomes_the_url_in_text_and_html() -> None:
    given = content(
        '<p><a href="{{unsubscribe_url}}">leave</a></p>',
        unsubscribe=Unsubscribe(host="u.example", one_click=True),
    )
    raw = wire_of(given)
    url = str(parsed(raw)["List-Unsubscribe"]).strip("<>")
    assert hrefs_of(raw) == [url]
    assert body_of(raw, "plain").split() == ["leave", f"<{url}>"]
    given.text = "Leave: {{unsubscribe_url}}\n"
    assert body_of(wire_of(given), "plain").strip() == f"Leave: {url}"


def test_the_placeholder_becomes_the_senders_own_url() -> None:
    own = "https://own.example/leave?a=1&b=2"
    given = content(
        '<a href="{{unsubscribe_url}}">x</a>', text="{{unsubscribe_url}}",
        tracking=None, unsubscribe=Unsubscribe(url=own),
    )  # fmt: skip
    raw = wire_of(given)
    assert hrefs_of(raw) == [own]
    assert body_of(raw, "plain").strip() == own
    assert parsed(raw)["List-Unsubscribe"] == f"<{own}>"


def submitted(encode: Callable[[EmailMessage], None]) -> bytes:
    made = EmailMessage(policy=policy.SMTP)
    made["From"], made["Subject"], made["X-Own"] = "news@sender.example", "Grüße", "1"
    made.set_content(f"Plain {URL}\n")
    encode(made)
    return made.as_bytes()


@pytest.mark.parametrize("cte", ["quoted-printable", "base64", "8bit", "7bit"])
def test_a_submitted_message_changes_only_in_its_html(cte: str) -> None:
    page = f'<p>Gruesse <a href="{escape(URL)}">y</a></p>\n'
    raw = submitted(lambda made: made.add_alternative(page, subtype="html", cte=cte))
    sent = wire_of(content("", raw=raw))
    [link] = hrefs_of(sent)
    assert read_link(link) == Click(TENANT, ANN, URL)
    check_signatures(sent)
    kept = raw.partition(b"text/html")[0]
    assert kept in sent
    assert sent.endswith(raw[raw.rindex(b"\r\n--") :])
    assert wire_of(content("", raw=raw, tracking=None)).endswith(raw)


EXCLUDED = ["bank.example", "xn--bcher-kva.example"]
SUBMITTED_AS = {
    "alone": b"%b",
    "in a multipart": b"Content-Type: multipart/mixed; boundary=b\n\n--b\n%b\n--b--\n",
    "in a multipart without end": b"Content-Type: multipart/mixed; boundary=b\n\n--b\n%b",
}
ENCODED: dict[bytes, Callable[[bytes], bytes]] = {
    b"base64": base64.encodebytes,
    b"quoted-printable": lambda html: b2a_qp(html, istext=False),
    b"Quoted-Printable": lambda html: b2a_qp(html, istext=True) + b"=\n",
    b"8bit": bytes,
}


@given(
    st.sampled_from(sorted(SUBMITTED_AS)),
    st.sampled_from(sorted(ENCODED)),
    st.text("\r\n\t =.-é\1", max_size=8),
)
@example("alone", b"base64", "")
@example("alone", b"Quoted-Printable", "")
def test_submitted_html_can_be_sent_however_it_ends(where: str, cte: bytes, rest: str) -> None:
    page = f'<a href="{escape(URL)}">y</a>{rest}'
    part = b"Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: %b\n\n%b" % (
        cte, ENCODED[cte](page.encode())
    )  # fmt: skip
    raw = normalize_line_endings(b"From: news@sender.example\n" + SUBMITTED_AS[where] % part)
    sent = wire_of(content("", raw=raw, tracking=Tracking(host="links.example", clicks=True)))
    found = re.sub(r"https://links\.example/c/[\w-]+", escape(URL), html_lines_of(sent))
    expected, end = html_lines_of(raw), "" if where == "in a multipart" else "\n"
    assert {found, f"{found}{end}"} & {expected, f"{expected}{end}"}
    assert [read_link(href) for href in hrefs_in(html_lines_of(sent))] == [Click(TENANT, ANN, URL)]
    check_signatures(sent)


def html_lines_of(raw: bytes) -> str:
    """The decoded html, with LF for every line end."""
    [part] = [one for one in parsed(raw).walk() if one.get_content_type() == "text/html"]
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    return octets.decode().replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    ("host", "is_tracked"),
    [("bank.example", False), ("my.BANK.example", False), ("mybank.example", True),
     ("bank.example.", False), ("bank.example\uff61", False), ("b\xfccher.example", False),
     ("MY.B\xdccher.example.", False), ("xn--bcher-kva.example", False), ("bucher.example", True),
     ("\u2603.example", True), ("b\xfccher-.example", True), ("links.example.", False)],
)  # fmt: skip
def test_links_to_excluded_hosts_and_below_are_not_tracked(host: str, is_tracked: bool) -> None:
    on = Tracking(host="links.example", clicks=True, excluded_hosts=EXCLUDED)
    raw = wire_of(content(f'<a href="https://{host}/x">y</a>', tracking=on))
    assert (hrefs_of(raw) != [f"https://{host}/x"]) is is_tracked


def test_a_submitted_message_that_is_signed_is_not_changed() -> None:
    page = f'<a href="{URL}">y</a>'
    raw = submitted(lambda made: made.add_alternative(page, subtype="html"))
    raw = raw.replace(b"multipart/alternative", b"multipart/signed")
    assert wire_of(content("", raw=raw)).endswith(raw)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "page",
    [f'<a href="{URL}/{{}}">y</a>' * 25_000, "<a href='" * 100_000, '<a href="x">' * 75_000],
)
def test_hostile_pages_cost_a_bounded_time(page: str) -> None:
    raw = wire_of(content(page, text=""))
    assert raw.count(b"links.example/c/") <= LINKS_MAX
    check_signatures(raw)
