"""An operator asks what is wrong with the installation: every service answers for itself."""

import httpx

from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine

SERVICES = ("ingest", "shield", "router", "delivery", "events")


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
    assert passed >= {("partitions", "ingest"), ("partitions", "router")}
    known = httpx.get(f"{engine.url}/health/checks", headers=headers, timeout=120)
    assert checked(known) == checked(made)  # the results of other tests' sources may change


def checked(response: httpx.Response) -> set[tuple[str, str]]:
    return {(one["check"], one["subject"]) for one in response.json()["checks"]}
