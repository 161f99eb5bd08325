"""Secrets move to the first key, and none of them is forgotten."""

import re
from pathlib import Path

import pytest

from contracts.ingest.v1.directory_pb2 import DkimKeys, Domain
from kernel.crypto import SecretKeyring, new_secret_key
from kernel.errors import ConfigError
from kernel.reencryption import Reencrypted
from services.events.store.reencryption import COLUMNS as OF_EVENTS
from services.ingest.store.reencryption import COLUMNS as OF_INGEST
from services.ingest.store.reencryption import FIELDS, reencrypt_fields

ROOT = Path(__file__).parents[3]
OLD, NEW = new_secret_key(), new_secret_key()
ENCRYPTED_COLUMN = re.compile(r"(\w+) bytea[^\n]*?-- (?:of the parts, )?encrypted")
ENCRYPTED_FIELD = re.compile(r"bytes (\w+) = \d+; // encrypted")


def test_a_token_of_an_old_key_is_encrypted_anew_and_one_of_the_first_stays() -> None:
    token = SecretKeyring([OLD]).encrypt(b"secret")
    both = SecretKeyring([NEW, OLD])
    moved = both.reencrypt(token)
    assert SecretKeyring([NEW]).decrypt(moved) == b"secret"
    assert both.reencrypt(moved) == moved
    with pytest.raises(ConfigError, match="lacks the key"):
        SecretKeyring([NEW]).reencrypt(token)


def test_a_keyring_without_keys_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be"):
        SecretKeyring([])


def test_all_keys_of_a_domain_are_encrypted_anew() -> None:
    old = SecretKeyring([OLD]).encrypt
    domain = Domain(
        name="one.example",
        rsa_private_key=old(b"a"),
        ed25519_private_key=old(b"b"),
        pending_keys=DkimKeys(rsa_private_key=old(b"c")),
        retired_keys=DkimKeys(ed25519_private_key=old(b"d")),
    )
    both = SecretKeyring([NEW, OLD])
    assert reencrypt_fields(domain, both) == Reencrypted(4, 4)
    assert reencrypt_fields(domain, both) == Reencrypted(4, 0)
    assert SecretKeyring([NEW]).decrypt(domain.retired_keys.ed25519_private_key) == b"d"


def test_every_field_that_contracts_call_encrypted_is_known() -> None:
    fields = {
        name
        for path in (ROOT / "proto/contracts").rglob("*.proto")
        for name in ENCRYPTED_FIELD.findall(path.read_text())
    }
    assert fields == FIELDS


def test_every_column_that_migrations_call_encrypted_is_known() -> None:
    found = {
        (path.parents[2].name, column)
        for path in (ROOT / "services").glob("*/migrations/versions/*.py")
        for column in ENCRYPTED_COLUMN.findall(path.read_text())
    }
    known = {(one.table.partition(".")[0], one.column) for one in (*OF_INGEST, *OF_EVENTS)}
    assert found - known == {("router", "key")}  # which router encrypts anew when it starts
