"""Limits of new API keys: expiry and networks of the creating key."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel import clock, times
from tests.support.rest_api import call_api

HERE = ["192.0.2.0/24", "2001:db8::/32"]


NOW = clock.now().replace(microsecond=0)
SOON, LATER, LATEST = (NOW + timedelta(days=days) for days in (5, 10, 11))


def make(
    *, until: datetime | None = None, bound: Sequence[str] = (), **wanted: object
) -> httpx.Response:
    """Create a key with a key that has this expiry and these networks."""
    expires_at = Timestamp(seconds=int(until.timestamp())) if until else None
    maker = ApiKey(cidrs=bound, expires_at=expires_at)
    body = json.dumps({"name": "new", **wanted}).encode()
    return call_api(
        "POST", "/v1/api-keys", {"Content-Type": "application/json"}, content=body, key=maker
    )


def refused(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["name"]


def test_a_new_key_expires_with_its_creator_unless_it_expires_earlier() -> None:
    assert read(make(until=LATER)) == LATER
    assert read(make(until=LATER, expires_at=SOON.isoformat())) == SOON
    assert make().json()["expires_at"] is None


def read(response: httpx.Response) -> datetime:
    assert response.status_code == 201
    return times.parse_time(response.json()["expires_at"])


def test_a_new_key_cannot_expire_after_its_creator() -> None:
    response = make(until=LATER, expires_at=LATEST.isoformat())
    assert refused(response) == (403, "restricted_api_key")


@pytest.mark.parametrize(
    "text",
    ["1970-01-01", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-12:00", "3000-01-01", "soon"],
)
def test_an_invalid_expiry_is_refused(text: str) -> None:
    response = make(expires_at=text)
    assert refused(response) == (422, "validation_error")
    assert response.json()["errors"][0]["pointer"] == "#/expires_at"


def test_a_new_key_has_the_networks_of_its_creator_or_narrower_ones() -> None:
    assert make(bound=HERE).json()["cidrs"] == HERE
    assert make(bound=HERE, cidrs=["192.0.2.7"]).json()["cidrs"] == ["192.0.2.7/32"]


@pytest.mark.parametrize(
    "cidr", ["0.0.0.0/0", "::/0", "192.0.0.0/16", "198.51.100.1", "::ffff:192.0.2.1"]
)
def test_a_new_key_cannot_have_networks_outside_those_of_its_creator(cidr: str) -> None:
    response = make(bound=HERE, cidrs=["192.0.2.7", cidr])
    assert refused(response) == (403, "restricted_api_key")
