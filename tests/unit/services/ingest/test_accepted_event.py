from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from contracts.ingest.v1.content_pb2 import Content, Header
from contracts.ingest.v1.directory_pb2 import ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, MessageAccepted, RecipientType
from kernel.topics import EVENT_BYTES_MAX, encode
from mail import address, verp
from services.ingest.domain import accepted_event
from services.ingest.domain.valid_email import Recipient, ValidEmail

NOW = datetime(2030, 1, 31, 12, 0, 0, 250_000, tzinfo=UTC)
KEY = b"k" * 32
IDS = [f"01890000-0000-7000-8000-00000000000{n}" for n in range(3)]


def accepted(
    content: Content,
    recipients: tuple[Recipient, ...],
    *,
    enforces: bool = False,
    domain_enforces: bool = False,
    **more: str,
) -> MessageAccepted:
    email = ValidEmail(
        sender=address.parse_mailbox("a@x.net"), recipients=recipients, content=content, tags=more,
        metadata=more, due_at=None, stream="transactional", test=False,
        tls_enforced=enforces,
    )  # fmt: skip
    origin = accepted_event.MessageOrigin(
        ApiKey(key_id="k"),
        Tenant(tenant_id="t", account_id="c"),
        Domain(domain_id="d", return_path_host="bounce.x.net", tls_enforced=domain_enforces),
        KEY,
        "00-trace",
    )
    times = accepted_event.MessageTimes(NOW, NOW, NOW + timedelta(hours=72))
    ids = accepted_event.EmailIds(IDS[0], IDS[1:])
    return accepted_event.message_accepted(
        email, ids, origin, priority=PRIORITY_EXPRESS, times=times
    )


def people(count: int) -> tuple[Recipient, ...]:
    return tuple(Recipient(f"p{n}@y.net", RecipientType.RECIPIENT_TYPE_TO) for n in range(count))


def test_the_first_headers_of_the_sender_are_in_the_event() -> None:
    own = [Header(name=f"X-{n}", value="v" * 1_000) for n in range(6)]
    event = accepted(Content(to=["p0@y.net"], headers=own), people(1))
    assert list(event.headers) == own[:3]
    assert not accepted(Content(to=["p0@y.net"]), people(1)).headers


def test_all_messages_of_an_email_can_be_rebuilt_from_the_first() -> None:
    first = accepted(Content(subject="Hi", to=["p0@y.net"]), people(2))
    first.context.content_ref = "now/2030-02-05/x:0:1"

    events = list(
        accepted_event.events_for_recipients(first, list(zip(IDS[1:], people(2), strict=True)), KEY)
    )

    assert events[0] == first
    assert events[1].message_id == events[1].context.message_id == IDS[2]
    assert events[1].context.recipient == "p1@y.net"
    assert events[1].context.content_ref == first.context.content_ref
    for message_id, one in zip(IDS[1:], events, strict=True):
        assert verp.parse_return_path(one.context.return_path, keys=(KEY,)) == UUID(message_id)
        assert one.context.return_path.endswith("@bounce.x.net")
    assert events[1].context.accepted_at.ToDatetime(UTC) == NOW


@pytest.mark.parametrize(("enforces", "domain_enforces"), [(True, False), (False, True)])
def test_tls_is_enforced_for_an_email_or_for_its_domain(
    enforces: bool, domain_enforces: bool
) -> None:
    content, to = Content(subject="Hi", to=["p0@y.net"]), people(2)
    made = accepted(content, to, enforces=enforces, domain_enforces=domain_enforces)
    pairs = list(zip(IDS[1:], to, strict=True))
    events = accepted_event.events_for_recipients(made, pairs, KEY)
    assert [one.context.tls_enforced for one in events] == [True, True]
    assert not accepted(content, to).context.tls_enforced


def test_the_event_of_the_largest_email_is_small_enough() -> None:
    name = '"' + "n" * 950 + '"'
    content = Content(
        subject="ü" * 5_000,
        to=[f"{name} <{'l' * 60}@{'d' * 60}{n}.net>" for n in range(50)],
    )
    setattr(content, "from", f"{name} <a@x.net>")
    made = accepted(content, people(1), big="ü" * 3_990)

    assert len(encode(made, NOW).value) < EVENT_BYTES_MAX
    assert made.to[0] == f"{'l' * 60}@{'d' * 60}0.net"
    assert len(made.subject) == 998
