"""The settings of the bench's engine."""

import tomllib

from bench.engine import database_urls, ingest_settings, routes_toml


def test_every_recipient_domain_is_routed_to_its_own_sink() -> None:
    text = routes_toml({"a.bench.test": ("127.0.77.1", 2525), "b.bench.test": ("127.0.77.2", 25)})
    assert tomllib.loads(text)["route"] == [
        {"domain": "a.bench.test", "mx_hosts": ["127.0.77.1:2525"]},
        {"domain": "b.bench.test", "mx_hosts": ["127.0.77.2:25"]},
    ]


def test_the_roles_of_all_services_are_checked_for_durability() -> None:
    settings = {
        "INGEST_TENANT_DATABASE_URL": "a",
        "EVENTS_SYSTEM_DATABASE_URL": "b",
        "OBM_RPC_TOKEN": "c",
    }
    assert database_urls(settings) == ["a", "b"]


def test_ingest_gets_its_own_settings_and_the_shared_secrets() -> None:
    environment = {"INGEST_HTTP_LISTEN": "h:1", "ROUTER_EHLO": "x", "OBM_SECRET_KEYS": "k"}
    assert ingest_settings(environment) == {"http_listen": "h:1", "secret_keys": "k"}
