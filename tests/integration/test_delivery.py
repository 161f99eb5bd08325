"""delivery on real Kafka and PostgreSQL, speaking to a mail server on loopback."""

from email import message_from_bytes

from contracts.delivery.v1 import events_pb2 as events
from contracts.ingest.v1.content_pb2 import Header
from tests.support.delivery import Harness, make_content
from tests.support.smtp_peer import Act, SmtpPeer
from tests.support.stack import harness_fixture

harness = harness_fixture(Harness, scope="module")


async def test_an_assigned_message_is_delivered_and_its_result_is_published(
    harness: Harness,
) -> None:
    async with SmtpPeer() as peer, harness.running() as running:
        batch = await harness.assign("friend@receiver.example", at=peer.address)
        results = await running.send(batch)
        result = results["friend@receiver.example"]
        assert result.outcome == events.ATTEMPT_OUTCOME_DELIVERED
        assert (result.reply.code, result.reply.step) == (250, "end_of_data")
        [received] = peer.messages
        assert received.mail_from == batch[0].context.return_path
        assert b"\r\nBye" in received.message


async def test_messages_with_the_same_message_id_have_separate_outcomes(harness: Harness) -> None:
    """This includes two emails whose sender uses the same Message-ID."""
    own = Header(name="message-id", value="<twice@sender.example>")

    async with (
        SmtpPeer({"rcpt": [Act(), Act(b"550 5.1.1 No such user")]}) as peer,
        harness.running() as running,
    ):
        first = await harness.assign(
            "friend@receiver.example", at=peer.address, content=make_content(headers=[own])
        )
        received = await running.send(first)
        content = make_content(headers=[own])
        second = await harness.assign("gone@receiver.example", at=peer.address, content=content)
        refused = await running.send(second)
        assert [message_id_of(one.message) for one in peer.messages] == ["<twice@sender.example>"]
    [one], [other] = received.values(), refused.values()
    assert (one.message_id, one.outcome) == (
        first[0].context.message_id, events.ATTEMPT_OUTCOME_DELIVERED,
    )  # fmt: skip
    assert (other.message_id, other.outcome) == (
        second[0].context.message_id, events.ATTEMPT_OUTCOME_PERMANENT,
    )  # fmt: skip


async def test_html_alone_arrives_with_a_text_part(harness: Harness) -> None:
    page = '<p>Hello Ann,</p><a href="https://a.example/">here it is</a>'
    content = make_content(html=page, text=None)

    async with SmtpPeer() as peer, harness.running() as running:
        batch = await harness.assign("friend@receiver.example", at=peer.address, content=content)
        await running.send(batch)
        [received] = peer.messages
    alternative = message_from_bytes(received.message)
    parts = [part for part in alternative.walk() if not part.is_multipart()]
    plain, html = (part.get_payload(decode=True) for part in parts)
    assert alternative.get_content_type() == "multipart/alternative"
    assert plain == b"Hello Ann,\r\nhere it is <https://a.example/>\r\n"
    assert html == f"{page}\r\n".encode()


def message_id_of(message: bytes) -> str:
    return str(message_from_bytes(message)["Message-ID"])
