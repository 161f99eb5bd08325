"""The passwords and the senders of a mailbox, and what a login with one may do."""

import re
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Mailbox, MailboxStatus, Tenant
from kernel import auth
from kernel.brand import Brand, Brands
from kernel.crypto import sha256
from mail import address
from mail.smtp_server_events import Login
from services.ingest.api.access import AccessControl, Principal
from services.ingest.api.administration.mailboxes import replace_password
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.submission.submitter import (
    SubmissionDependencies,
    SubmissionResponder,
    check_sender,
)
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.login_throttle import LoginThrottle
from services.ingest.domain.mailbox import (
    accepts_password,
    canonical_address,
    is_rotating,
    may_send_as,
)
from services.ingest.domain.problem import Problem
from services.ingest.domain.rate_limiter import RateLimiter
from services.ingest.domain.reserved import SpecialUseDomains
from tests.support.known_keys import KEYS, MINE, OTHER, KnownKeys

PASSWORD = auth.generate_password()
ANN = Mailbox(
    mailbox_id="m", tenant_id=MINE, address="ann@shop.example", password_sha256=sha256(PASSWORD)
)
BRANDS = Brands({"acme": Brand(smtp_host="smtp.acme.example")})
local = st.from_regex(r"[A-Za-z0-9]{1,8}(\.[A-Za-z0-9]{1,4})?", fullmatch=True)
name = st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,4})?\.example", fullmatch=True)
addresses = st.builds("{}@{}".format, local, name)


def changed(**fields: object) -> Mailbox:
    made = Mailbox()
    made.CopyFrom(ANN)
    made.MergeFrom(Mailbox(**cast(Any, fields)))
    return made


def test_passwords_are_random_letters_and_digits_and_no_api_keys() -> None:
    made = {auth.generate_password() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(r"[A-Za-z0-9]{24}", one) for one in made)  # 142 bits
    assert not any(auth.is_api_key(one) for one in made)
    assert auth.is_api_key(auth.generate_key(test=False, brand="obm"))


def test_during_a_rotation_both_passwords_work_and_after_it_the_new_one() -> None:
    mailbox = changed()
    new = replace_password(mailbox, now_s=100, grace_s=60)
    old_works = [accepts_password(mailbox, sha256(PASSWORD), at) for at in (100, 159.9, 160, 1e9)]
    assert old_works == [True, True, False, False]
    assert all(accepts_password(mailbox, sha256(new), at) for at in (100, 1e9))
    assert (is_rotating(mailbox, 159.9), is_rotating(mailbox, 160)) == (True, False)
    newest = replace_password(mailbox, now_s=110, grace_s=0)
    for password in (PASSWORD, new):
        assert not accepts_password(mailbox, sha256(password), 110)
    assert accepts_password(mailbox, sha256(newest), 110)


def test_without_a_rotation_an_absent_hash_is_no_password() -> None:
    assert not accepts_password(ANN, b"", 0)


@pytest.mark.parametrize(
    ("sender", "own", "any_address"),
    [
        ("ann@shop.example", True, True),
        ("ANN@Shop.Example", True, True),
        ("bob@shop.example", False, True),
        ("ann@mail.shop.example", False, False),
        ("ann@xshop.example", False, False),
        ("ann@shop.example.evil.example", False, False),
        ('"ann@shop.example"@evil.example', False, False),
        ('"x@shop.example"@shop.example', False, True),
    ],
)
def test_a_mailbox_sends_from_its_address_or_its_domain(
    sender: str, own: bool, any_address: bool
) -> None:
    parsed = address.parse_mailbox(sender)
    assert may_send_as(ANN, parsed) is own
    assert may_send_as(changed(any_address=True), parsed) is any_address


@given(mine=addresses, other=addresses, any_address=st.booleans())
def test_no_mailbox_sends_from_another_domain(mine: str, other: str, any_address: bool) -> None:
    mailbox = Mailbox(address=canonical_address(mine), any_address=any_address)
    if may_send_as(mailbox, address.parse_mailbox(other)):
        assert other.partition("@")[2].lower() == mine.partition("@")[2].lower()
        assert any_address or other.lower() == mine.lower()
    assert may_send_as(mailbox, address.parse_mailbox(mine))


def test_an_international_domain_is_compared_in_its_ascii_form() -> None:
    mailbox = Mailbox(address=canonical_address("Ann@Bücher.example"))
    assert mailbox.address == "ann@xn--bcher-kva.example"
    assert may_send_as(mailbox, address.parse_mailbox("ann@bücher.example"))


def test_a_refusal_names_what_the_mailbox_may_send_from() -> None:
    bob = address.parse_mailbox("bob@else.example")
    for mailbox, allowed in (
        (ANN, "ann@shop.example"), (changed(any_address=True), "addresses at shop.example")
    ):  # fmt: skip
        with pytest.raises(Problem, match=f"From: this mailbox sends from {allowed} only"):
            check_sender(Principal(ApiKey(), Tenant(), mailbox), bob, "From")
    check_sender(
        Principal(ApiKey(), Tenant()), bob, "From"
    )  # a key's domains are checked elsewhere


class KnownMailboxes(KnownKeys):
    """A directory with mailboxes; one of an unknown tenant."""

    def __init__(self, *mailboxes: Mailbox) -> None:
        super().__init__()
        self._keys = KEYS._keys
        self._mailboxes = mailboxes

    async def mailbox(self, password_sha256: bytes) -> Mailbox | None:
        hashes = ((one, (one.password_sha256, one.previous_sha256)) for one in self._mailboxes)
        return next((one for one, known in hashes if password_sha256 in known), None)


def submitter(*mailboxes: Mailbox, per_second: int = 100) -> SubmissionResponder:
    nothing: Any = None
    access = AccessControl(
        cast(Any, KnownMailboxes(*mailboxes)),
        RateLimiter(per_second),
        nothing,
        bodies=BodyMemory(1024),
    )
    brands = BrandResolver(BRANDS, lambda account_id: Account(brand=account_id and "acme"))
    dependencies = SubmissionDependencies(
        access, nothing, LoginThrottle(), SpecialUseDomains(), brands
    )
    return SubmissionResponder(dependencies, "192.0.2.1")


async def test_a_mailbox_logs_in_with_its_own_password_only() -> None:
    bob = Mailbox(
        mailbox_id="b", tenant_id=MINE, address="bob@shop.example", password_sha256=sha256("other")
    )
    for username, password, code in (
        ("ann@shop.example", PASSWORD, "235"),
        ("Ann@SHOP.example", PASSWORD, "235"),
        ("bob@shop.example", PASSWORD, "535"),
        ("ann", PASSWORD, "535"),
        ("", PASSWORD, "535"),
        ("ann@shop.example", "other", "535"),
        ("ann@shop.example", PASSWORD.swapcase(), "535"),
        ("ann@shop.example", KEYS.secrets["tenant", "none"], "535"),
    ):
        reply = await submitter(ANN, bob).respond(Login(username, password))
        assert reply[:3] == code, (username, reply)


async def test_that_a_mailbox_is_paused_shows_after_the_right_password_only() -> None:
    paused = changed(status=MailboxStatus.MAILBOX_STATUS_PAUSED)
    one = submitter(paused)
    assert (await one.respond(Login(ANN.address, "wrong"))).startswith("535 5.7.8")
    for _ in range(10):  # the right password is not throttled
        assert (await one.respond(Login(ANN.address, PASSWORD))).startswith("525 5.7.13")


async def test_wrong_passwords_of_a_mailbox_are_slowed_down() -> None:
    one = submitter(ANN)
    replies = [await one.respond(Login(ANN.address, f"wrong{number}")) for number in range(8)]
    assert replies[0].startswith("535")
    assert replies[-1].startswith("454 4.7.0 Too many failed logins")


async def test_a_login_over_the_rate_limit_is_no_wrong_password() -> None:
    one = submitter(ANN, per_second=1)
    replies = [await one.respond(Login(ANN.address, PASSWORD)) for _ in range(8)]
    assert replies[0].startswith("235")
    assert set(replies[1:]) == {"454 4.7.0 Temporary authentication failure"}


async def test_the_mailbox_of_a_tenant_that_is_gone_cannot_log_in() -> None:
    assert (await submitter(changed(tenant_id="gone")).respond(Login(ANN.address, PASSWORD)))[
        :3
    ] == "535"


@pytest.mark.parametrize(
    ("kind", "username", "reply"),
    [
        ("account", MINE, "235"),
        ("account", "shop", "235"),
        ("account", OTHER, "535 5.7.8 This is the key of an account: the username must be the id"),
        ("account", "any", "535 5.7.8 This is the key of an account: the username must be the id"),
        ("account", "", "535 5.7.8 This is the key of an account: the username must be the id"),
        ("tenant", "any", "235"),
        ("tenant", OTHER, "235"),  # its tenant is its own
        ("operator", MINE, "535 5.7.8 Authentication credentials invalid"),
    ],
)
async def test_the_key_of_an_account_names_a_tenant_by_the_username(
    kind: str, username: str, reply: str
) -> None:
    one = submitter()
    login = Login(username, KEYS.secrets[kind, "sending_access"])
    for _ in range(6):  # a right key is not throttled
        found = await one.respond(login)
        if kind != "operator":
            assert found.startswith(reply), found
    assert (await submitter().respond(login)).startswith(reply)


async def test_a_session_has_the_name_of_its_accounts_brand_after_the_login() -> None:
    one = submitter()
    assert one.hostname == ""
    await one.respond(Login("any", KEYS.secrets["tenant", "full_access"]))
    assert one.hostname == "smtp.acme.example"
