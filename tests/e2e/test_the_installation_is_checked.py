"""An operator asks what is wrong with the installation: every service answers for itself."""

from functools import partial

import httpx

from kernel.days import DAYS_AHEAD
from services.delivery.store import days as journal_days
from services.events.store import days as log_days
from services.ingest.app import health_checks
from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine, until
from tests.support.owner import Connection
from tests.support.stack import FreshDatabase

SERVICES = ("ingest", "shield", "router", "delivery", "events")
AHEAD = {
    "ingest": health_checks.AHEAD,
    "router": ("messages",),
    "delivery": journal_days.TABLES,
    "events": log_days.TABLES,
}
ENDS_EARLY = (
    "SELECT WHERE (now() AT TIME ZONE 'UTC')::date + %s"
    " > (SELECT max(day) FROM {0}.day_partitions(%s) AS day)"
)


def test_all_services_answer_with_the_same_keys_and_the_right_time(engine: Engine) -> None:
    key = keys_of_callers(engine.environment)["accounts"]
    headers = {"Authorization": f"Bearer {key}"}
    made = httpx.post(f"{engine.url}/health/checks", headers=headers, timeout=120)
    assert made.status_code == 200, made.text
    passed = {
        (one["check"], one["subject"]) for one in made.json()["checks"] if one["status"] == "passed"
    }
    assert passed >= {(check, name) for check in ("service", "secret_keys") for name in SERVICES}
    assert passed >= {("clock", name) for name in SERVICES}
    assert passed >= {("partitions", name) for name in AHEAD}
    known = httpx.get(f"{engine.url}/health/checks", headers=headers, timeout=120)
    assert checked(known) == checked(made)  # the results of other tests' sources may change


def test_services_create_the_days_that_come(engine: Engine) -> None:
    """Migrations create fewer."""
    for service, tables in AHEAD.items():
        url = engine.environment[f"{service.upper()}_SYSTEM_DATABASE_URL"]
        with FreshDatabase(url).connect() as connection:
            for table in tables:
                until(partial(has_coming_days, connection, f"{service}.{table}"))


def has_coming_days(connection: Connection, table: str) -> bool:
    schema, _, name = table.partition(".")
    query = ENDS_EARLY.format(schema).encode()
    return not connection.execute(query, (DAYS_AHEAD, name)).fetchall()


def checked(response: httpx.Response) -> set[tuple[str, str]]:
    return {(one["check"], one["subject"]) for one in response.json()["checks"]}
