import base64
import quopri
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.delivery.v1.delivery_service_pb2 import SandboxMessage
from contracts.delivery.v1.events_pb2 import DeliveryAttempted, Reply, SmtpExchange
from contracts.ingest.v1.events_pb2 import MessageAccepted, MessageContext
from kernel.redaction import ERASED, erase, erase_bytes, found_in, pattern_of

ANN = "ann.lee+news@example.net"
PATTERN = pattern_of(ANN)


@pytest.mark.parametrize(
    "text",
    [
        ANN,
        ANN.upper(),
        f'"Ann Lee" <{ANN.title()}>',
        quote(ANN, safe=""),
        quote(ANN, safe="").lower(),
        f"https://a.example/?to={quote_plus(ANN)}&x=1",
        "".join(f"%{ord(one):02X}" for one in ANN),
        quopri.encodestring(ANN.replace("@", "=40").encode()).decode().replace("=3D", "="),
    ],
)
def test_an_address_is_found_however_it_is_written(text: str) -> None:
    assert PATTERN.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}.", "{}...", "{}, please", "<{}>", '"{}"', "'{}'", "b'{}'", "({})", "[{}]", "`{}`",
        "*{}*", "_{}_", "-{}", "mailto:{}", "to={}&x=1", "to%3D{}%26x", "%20{}%20", "to=3D{}=0A",
        "\\n{}\\n", "\\u003c{}\\u003e", "“{}”", "請聯絡{}まで", "550 5.1.1 {}: unknown",
        "550-{} is unknown", "1.{}", "/{}/", "a|{}|b", "{}-bob", "x.de;{}",
        "joann@example.net {}", "{} {}", "=E2=80=9C{}=E2=80=9D",
    ],
)  # fmt: skip
@pytest.mark.parametrize("address", ["ann@x.com", "ann%40x.com", "ANN=40X.COM", "%61nn@x.com"])
def test_an_address_is_found_beside_what_is_no_part_of_it(text: str, address: str) -> None:
    assert found_in(text.replace("{}", address), pattern_of("ann@x.com"))


@pytest.mark.parametrize(
    "text",
    [
        "joann@x.com", "JOANN@X.COM", "jo.ann@x.com", "jo-ann@x.com", "jo_ann@x.com",
        "jo+ann@x.com", "o'ann@x.com", "joann%40x.com", "jo%2Bann%40x.com", "J=C3=BCann@x.com",
        "jüann@x.com", "ann@x.com.au", "ann@x.com%2Eau", "ann@x.community", "ann@x.com-op.uk",
        "ann@x.como", "<joann@x.com>, <ann@x.com.au>",
    ],
)  # fmt: skip
def test_a_longer_address_stays(text: str) -> None:
    assert not found_in(text, pattern_of("ann@x.com"))
    assert found_in(f"{text} ann@x.com", pattern_of("ann@x.com"))


def test_a_space_that_a_query_encodes_is_no_part_of_an_address() -> None:
    assert found_in(f"q={quote_plus('to ann@x.com now')}", pattern_of("ann@x.com"))
    assert found_in("=?utf-8?Q?to_ann=40x.com?=", pattern_of("ann@x.com"))


def test_a_part_of_an_identifier_is_found() -> None:
    message = MessageAccepted(own_message_id="<f00.ann@x.com>", subject="f00.ann@x.com")
    assert erase(message, pattern_of("ann@x.com"))
    assert (message.own_message_id, message.subject) == (ERASED, "f00.ann@x.com")


JUERGEN = "jürgen@bücher.example"


@pytest.mark.parametrize("text", [JUERGEN, JUERGEN.upper(), quote(JUERGEN), quote(JUERGEN.upper())])
def test_an_address_beyond_ascii_is_found(text: str) -> None:
    pattern = pattern_of(JUERGEN)
    assert found_in(text, pattern)
    assert found_in(base64.b64encode(f"<{text}>".encode()).decode(), pattern)
    event = SandboxMessage(raw=text.encode())
    assert erase(event, pattern)


@given(
    st.binary(max_size=7), st.binary(max_size=7), st.sampled_from([ANN, ANN.upper(), ANN.title()])
)
def test_base64_is_found_at_any_offset(before: bytes, after: bytes, address: str) -> None:
    data = before + address.encode() + after
    assert found_in(base64.b64encode(data).decode(), PATTERN)
    assert found_in(base64.urlsafe_b64encode(data).decode(), PATTERN)


@given(st.text())
def test_other_texts_stay(text: str) -> None:
    message = MessageAccepted(subject=text.replace("ann", ""), to=["bob@example.net"])
    before = message.SerializeToString()
    assert not erase(message, PATTERN)
    assert message.SerializeToString() == before


def test_every_text_of_a_message_is_looked_at() -> None:
    message = MessageAccepted(
        context=MessageContext(recipient=ANN, return_path="bounce+0@a.example"),
        to=[f"Ann <{ANN}>", "bob@example.net"],
        tags={"user": ANN, "kind": "news"},
        metadata={ANN: "1"},
    )
    assert erase(message, PATTERN)
    assert message.context.recipient == ERASED
    assert message.context.return_path == "bounce+0@a.example"
    assert list(message.to) == [ERASED, "bob@example.net"]
    assert dict(message.tags) == {"user": ERASED, "kind": "news"}
    assert dict(message.metadata) == {ERASED: ERASED}
    assert not erase(message, PATTERN)


def test_messages_in_lists_are_looked_at() -> None:
    event = DeliveryAttempted(
        reply=Reply(text=f"<{ANN}>: no such user", code=550),
        dialogue=[SmtpExchange(command=f"RCPT TO:<{ANN}>", code=550), SmtpExchange(command=".")],
    )
    found = DeliveryAttempted.FromString(
        erase_bytes(DeliveryAttempted, event.SerializeToString(), PATTERN)
    )
    assert (found.reply.text, found.reply.code) == (ERASED, 550)
    assert [one.command for one in found.dialogue] == [ERASED, "."]
