"""What the audit log shows of an entry: no secret of any kind."""

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from services.ingest.store.audit_log import default_action, visible_fields
from services.ingest.store.directory import TABLES

SECRETS = {
    Account: set[str](),
    Tenant: {"content_key"},
    ApiKey: {"secret_sha256"},
    Domain: {"rsa_private_key", "ed25519_private_key"},
}


@pytest.mark.parametrize("kind", TABLES)
def test_no_secret_is_shown(kind: Any) -> None:  # noqa: ANN401 - a message
    secrets = {
        field.name for field in kind.DESCRIPTOR.fields if field.type == FieldDescriptor.TYPE_BYTES
    }
    assert secrets >= SECRETS.get(kind, set())
    entry = kind(**dict.fromkeys(secrets, b"hidden"), version=7)
    assert visible_fields(entry) == {}
    assert all(getattr(entry, name) for name in secrets)  # the entry itself is unchanged


def test_the_other_fields_are_shown() -> None:
    key = ApiKey(key_id="k", name="shop", scopes=["full_access"], secret_sha256=b"hidden")
    assert visible_fields(key) == {"key_id": "k", "name": "shop", "scopes": ["full_access"]}
    assert visible_fields(None) is None


def test_a_time_beyond_the_last_year_does_not_prevent_an_act() -> None:
    shown = visible_fields(ApiKey(expires_at=Timestamp(seconds=2**60)))
    assert shown is not None
    assert shown["expires_at"].startswith("9999-12-")


def test_the_action_follows_from_what_existed() -> None:
    assert default_action(None, Tenant()) == "create"
    assert default_action(Tenant(), Tenant()) == "update"
    assert default_action(Tenant(), Tenant(deleted=True)) == "delete"
