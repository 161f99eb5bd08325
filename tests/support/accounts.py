"""Accounts of an engine under test, created as `obm` does."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus

from contracts.ingest.v1.directory_pb2 import Account, ApiKeyKind, Brand, Tenant
from kernel.auth import FULL_ACCESS
from kernel.ids import uuid7_text
from services.ingest.api.administration.api_keys import new_key
from services.ingest.settings import Settings
from tests.support.directory import CreatedAccount, open_directory


def create_account(
    environment: Mapping[str, str], domain: str, *, test: bool = False
) -> CreatedAccount:
    """Create an account with a tenant, a domain and a key. environment: of the engine."""

    async def make() -> CreatedAccount:
        async with open_directory(settings(environment)) as directory:
            return await directory.add_complete_account(domain, test=test)

    return asyncio.run(make())


def keys_of_callers(environment: Mapping[str, str]) -> dict[str, str]:
    """A key of the operator and one of an account, by the resources that each is for."""

    async def make() -> tuple[str, str]:
        async with open_directory(settings(environment)) as directory:
            operator, _ = await directory.add_operator_key(name="the tests")
            return operator, (await directory.add_account("the tests")).account_id

    operator, account_id = asyncio.run(make())
    of_operator = dict.fromkeys(("accounts", "brands", "limits", "pools"), operator)
    return {**of_operator, "tenants": add_account_key(environment, account_id)}


def add_account_key(environment: Mapping[str, str], account_id: str) -> str:
    """A key of an account. environment: of the engine."""

    async def make() -> str:
        async with open_directory(settings(environment)) as directory:
            secret, key = new_key(
                brand="obm", test=False, account_id=account_id, scopes=[FULL_ACCESS],
                kind=ApiKeyKind.API_KEY_KIND_ACCOUNT,
            )  # fmt: skip
            await directory.store.save(key)
        return secret

    return asyncio.run(make())


def add_brand(environment: Mapping[str, str], account_id: str) -> str:
    """Give an account a brand of its own. Returns its id."""

    async def make() -> str:
        brand = Brand(brand_id=uuid7_text(), name="Own", slug="own", sandbox_domain="own.net")
        account = Account(account_id=account_id, name="own", brand=brand.brand_id)
        async with open_directory(settings(environment)) as directory:
            await directory.store.save(brand, account)
        return brand.brand_id

    return asyncio.run(make())


def change_tenant(environment: Mapping[str, str], tenant: str, **fields: object) -> None:
    """tenant: its id. fields: new values by name."""

    async def change() -> None:
        async with open_directory(settings(environment)) as directory:
            await directory.change(Tenant, tenant, fields)

    asyncio.run(change())


def change_account(environment: Mapping[str, str], account: str, **fields: object) -> None:
    """account: its id. fields: new values by name."""

    async def change() -> None:
        async with open_directory(settings(environment)) as directory:
            await directory.change(Account, account, fields)

    asyncio.run(change())


def settings(environment: Mapping[str, str]) -> Settings:
    return Settings(
        system_database_url=environment["INGEST_SYSTEM_DATABASE_URL"],
        tenant_database_url=environment["INGEST_TENANT_DATABASE_URL"],
        secret_keys=[environment["OBM_SECRET_KEYS"]],
    )


def add_webhook(port: int, key: str, url: str, *, host: str = "127.0.0.1") -> str:
    """Add a webhook endpoint for all events, as soon as the engine can. Returns its id."""
    request = urllib.request.Request(
        f"http://{host}:{port}/v1/webhooks",
        json.dumps({"endpoint": url}).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return str(json.load(response)["id"])
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            time.sleep(float(error.headers.get("Retry-After", 1)))
