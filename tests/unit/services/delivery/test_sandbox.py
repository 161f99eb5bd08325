"""Sandbox scenarios by recipient."""

from uuid import uuid4

import pytest

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import verp
from services.delivery.domain.sandbox import message_id_of, scenario_of


def assigned(recipient: str, **more: object) -> DeliveryAssigned:
    fields = {"attempt": 1} | more
    return DeliveryAssigned(context=MessageContext(recipient=recipient), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("recipient", "code"),
    [
        ("delivered@x.example", "250"),
        ("delivered+label@x.example", "250"),
        ("BOUNCED+one@x.example", "550"),
        ("complained@x.example", "250"),
        ("delayed@x.example", "451"),
        ("ooto@x.example", "250"),
        ("opened@x.example", "250"),
        ("clicked@x.example", "250"),
        ("somebody@x.example", "250"),
        ("bouncedtoo@x.example", "250"),
    ],
)
def test_the_reply_depends_on_the_recipient(recipient: str, code: str) -> None:
    assert scenario_of(assigned(recipient)).reply[:3] == code


def test_a_delayed_message_is_accepted_at_its_second_attempt() -> None:
    assert scenario_of(assigned("delayed+1@x.example", attempt=2)).reply.startswith("250")


def test_an_ambiguous_message_is_disconnected_once_and_then_accepted() -> None:
    assert scenario_of(assigned("ambiguous@x.example")).cuts_connection
    assert not scenario_of(assigned("ambiguous@x.example", ambiguous=True)).cuts_connection


def test_only_complained_complains_and_only_timeout_hangs() -> None:
    names = ("delivered", "bounced", "complained", "delayed", "timeout", "ooto")
    scenarios = {name: scenario_of(assigned(f"{name}@x.example")) for name in names}
    assert [name for name in names if scenarios[name].complains] == ["complained"]
    assert [name for name in names if scenarios[name].hangs] == ["timeout"]


def test_the_return_path_names_its_message() -> None:
    message_id = uuid4()
    path = verp.return_path(message_id, "bounces.example", key=b"sixteen octets..").address
    assert message_id_of(path) == str(message_id)


@pytest.mark.parametrize(
    "path",
    ["", "a@b", "bounce+short@b", f"bounce+{'!' * 50}@b", f"bounce+{' ' * 50}@b"],
)
def test_an_invalid_return_path_names_no_message(path: str) -> None:
    assert message_id_of(path) is None
