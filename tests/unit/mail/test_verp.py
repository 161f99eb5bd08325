from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import address, verp

OLD, NEW = b"o" * 32, b"n" * 32
ONE = UUID("018f0000-0000-7000-8000-000000000001")


def test_a_bounce_identifies_its_message() -> None:
    box = verp.return_path(ONE, "b.a.example", key=OLD)
    assert box == address.parse_mailbox(box.address)
    assert verp.parse_return_path(box.address.upper(), keys=(OLD,)) == ONE


def test_old_return_paths_are_valid_after_a_key_rotation() -> None:
    box = verp.return_path(ONE, "b.a.example", key=OLD)
    assert verp.parse_return_path(box.local, keys=(NEW, OLD)) == ONE
    assert verp.parse_return_path(box.local, keys=(NEW,)) is None


@given(st.integers(0, 49), st.sampled_from("0123456789abcdef"))
def test_a_forged_return_path_is_invalid(position: int, letter: str) -> None:
    prefix, _, token = verp.return_path(ONE, "b.a.example", key=OLD).local.rpartition("+")
    forged = token[:position] + letter + token[position + 1 :]
    expected = ONE if forged == token else None
    assert verp.parse_return_path(f"{prefix}+{forged}", keys=(OLD,)) == expected


@given(st.text(max_size=60))
def test_other_local_parts_are_not_return_paths(local: str) -> None:
    assert verp.parse_return_path(local, keys=(OLD,)) is None


def test_the_token_alone_names_the_message_too() -> None:
    path = verp.return_path(ONE, "b.a.example", key=OLD).address
    token = verp.token_of(path)
    assert len(token) == 50
    assert verp.parse_token(token, keys=(NEW, OLD)) == ONE
    assert verp.parse_token(token, keys=(NEW,)) is None
    for other in ("", "bounce+abc@b.a.example", path.replace("bounce+", "fbl+"), f"{token}@x.net"):
        assert verp.token_of(other) == ""


def test_each_message_has_its_own_token() -> None:
    other = uuid5(ONE, "x")
    assert verp.return_path(other, "h.example", key=OLD) != verp.return_path(
        ONE, "h.example", key=OLD
    )


def test_a_short_key_is_rejected() -> None:
    with pytest.raises(ValueError, match="16 octets"):
        verp.return_path(ONE, "h.example", key=b"short")
