"""A suppression list moves as CSV from one tenant to another, with the real router: nothing of it
is lost, and a second import changes nothing."""

import time
from typing import Any

import httpx
import pytest

from tests.support.accounts import create_account
from tests.support.engine import Engine
from tests.support.strangers import client

WITHIN_S = 240.0
IMPORTS = "/suppressions/imports"
FILE = """email,origin,reason,list,note,expires_at,created_at
ann@x.example,bounce,invalid_recipient,,,,2025-03-01T09:30:00.123Z
ann@x.example,unsubscribe,one_click,weekly,"she said ""no"", twice",,2025-03-02T10:00:00.456Z
'=cmd@x.example,manual,,,'=1+1,2038-01-01T00:00:00.789Z,1999-12-31T23:59:59.999Z
bob@xn--bcher-kva.example,complaint,abuse,,,,2026-01-01T00:00:00.001Z
ann@x.example,unsubscribe,page,,,2039-01-01T00:00:00.000Z,2025-03-03T11:00:00.000Z
"""


def wait_for(http: httpx.Client, created: httpx.Response) -> tuple[int, int, int, int]:
    """The counts of an import when it is complete."""
    assert created.status_code == 202, created.text
    deadline = time.monotonic() + WITHIN_S
    while (found := http.get(f"{IMPORTS}/{created.json()['id']}").json())["status"] != "completed":
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.2)
    return found["lines"], found["added"], found["existing"], found["failed"]


def send(http: httpx.Client, file: str) -> tuple[int, int, int, int]:
    headers = {"Content-Type": "text/csv"}
    return wait_for(http, http.post(IMPORTS, content=file.encode(), headers=headers))


@pytest.fixture
def tenants(engine: Engine) -> Any:  # noqa: ANN401 - a generator
    domains = ("from.obm-sandbox.net", "to.obm-sandbox.net")
    keys = [create_account(engine.environment, one, test=False).api_key for one in domains]
    with client(engine, keys[0]) as first, client(engine, keys[1]) as second:
        yield first, second


def test_nothing_of_a_list_is_lost(tenants: tuple[httpx.Client, httpx.Client]) -> None:
    first, second = tenants
    assert send(first, FILE) == (5, 5, 0, 0)
    exported = first.get("/suppressions/export").text
    lines = FILE.splitlines()
    assert exported.splitlines() == [lines[n] for n in (0, 4, 5, 2, 1, 3)]
    assert send(second, exported) == (5, 5, 0, 0)
    assert second.get("/suppressions/export").text == exported
    assert send(second, exported) == (5, 0, 5, 0)
    assert second.get("/suppressions/export").text == exported


def test_a_line_with_a_stronger_origin_replaces_the_weaker(
    tenants: tuple[httpx.Client, httpx.Client],
) -> None:
    http, _ = tenants
    http.post("/suppressions", json={"email": "eve@x.example", "note": "asked by phone"})
    assert send(http, "email,origin\neve@x.example,complaint\nEve@x.example,bounce\n") == (
        2,
        0,
        2,
        0,
    )
    found = http.get("/suppressions/eve@x.example").json()
    assert (found["origin"], found["note"]) == ("complaint", None)  # the note was the other's
