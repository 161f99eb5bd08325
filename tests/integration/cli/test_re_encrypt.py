"""After `obm re-encrypt` an installation works without the key that its secrets were under."""

import asyncio
from uuid import uuid4

import pytest

from kernel.crypto import SecretKeyring, new_secret_key
from kernel.errors import ConfigError
from kernel.reencryption import Reencrypted
from services.events.store.reencryption import reencrypt_secrets
from tests.support.ingest import IngestHarness
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase, harness_fixture, opened

harness = harness_fixture(IngestHarness, scope="function")
WEBHOOK = (
    "INSERT INTO events.webhooks (id, owner_id, url, event_types, secret, headers)"
    " VALUES (%s, %s, 'https://one.example', '{}', %s, %s)"
)


async def test_mail_is_accepted_and_read_without_the_old_key(harness: IngestHarness) -> None:
    async with harness.running():
        await harness.sign_up()
        sent = await harness.send()
        assert sent.status == 202
    old, new = harness.secret_key, new_secret_key()
    shell = Shell(
        {
            "INGEST_SYSTEM_DATABASE_URL": harness.database.system("ingest"),
            "INGEST_TENANT_DATABASE_URL": harness.database.tenant("ingest"),
            "OBM_SECRET_KEYS": f"{new},{old}",
        }
    )
    first = await asyncio.to_thread(shell.obm, "re-encrypt", "ingest")
    assert first == "ingest: 3 of 3 secrets were under an old key"  # of the tenant and its domain
    again = await asyncio.to_thread(shell.obm, "re-encrypt", "ingest")
    assert again == "ingest: 0 of 3 secrets were under an old key"
    harness.secret_key = new
    async with harness.running():
        got = await harness.request("GET", f"/v1/emails/{sent.json['id']}")
        assert got.json["text"]
        assert (await harness.send()).status == 202


async def test_the_secrets_of_webhooks_are_encrypted_anew(database: FreshDatabase) -> None:
    old, new = new_secret_key(), new_secret_key()
    token = SecretKeyring([old]).encrypt
    with database.connect() as owner:
        for headers in (None, token(b"{}")):
            owner.execute(WEBHOOK, (uuid4(), uuid4(), token(b"secret"), headers))
    async with opened(database.system("events")) as system:
        with pytest.raises(ConfigError):
            await reencrypt_secrets(system, SecretKeyring([new]))
        both = SecretKeyring([new, old])
        assert await reencrypt_secrets(system, both) == Reencrypted(3, 3)
        assert await reencrypt_secrets(system, SecretKeyring([new])) == Reencrypted(3, 0)


def test_a_service_without_such_secrets_is_named() -> None:
    assert "Name one of ingest, events" in Shell({}).refused("re-encrypt", "shield")
