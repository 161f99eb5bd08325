"""Requests that export usage to a billing system: one for what a meter has grown by on a day.

Sources: docs.stripe.com/api/billing/meter-event, getlago.com/docs/api-reference/events/usage,
openmeter.io/docs/metering/events/overview.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Literal, NamedTuple
from urllib.parse import urlencode

import msgspec

System = Literal["stripe", "lago", "openmeter"]
URLS: Mapping[System, str] = {
    "stripe": "https://api.stripe.com",
    "lago": "https://api.getlago.com",
    "openmeter": "https://openmeter.cloud",
}


class UsageExport(NamedTuple):
    """What is exported once. billing_id: of the account in the billing system. version: counts the
    exports of this account, meter and day; value: what it adds to the earlier ones."""

    account_id: str
    billing_id: str
    meter: str
    day: date
    version: int
    value: int

    @property
    def identifier(self) -> str:
        """The same in each attempt: the billing system counts it once."""
        return f"{self.account_id}:{self.meter}:{self.day}:{self.version}"

    @property
    def at(self) -> datetime:
        return datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)


class BillingRequest(NamedTuple):
    """path: below the URL of the system."""

    path: str
    media_type: str
    body: bytes


def stripe_request(export: UsageExport) -> BillingRequest:
    """A meter event; its event_name is the meter."""
    fields = {
        "event_name": export.meter,
        "identifier": export.identifier,
        "timestamp": int(export.at.timestamp()),
        "payload[stripe_customer_id]": export.billing_id,
        "payload[value]": export.value,
    }
    form = "application/x-www-form-urlencoded"
    return BillingRequest("/v1/billing/meter_events", form, urlencode(fields).encode())


def lago_request(export: UsageExport) -> BillingRequest:
    """An event; its code is the meter, and the billing_id an external subscription."""
    event = {
        "transaction_id": export.identifier,
        "external_subscription_id": export.billing_id,
        "code": export.meter,
        "timestamp": int(export.at.timestamp()),
        "properties": {"value": export.value},
    }
    return BillingRequest(
        "/api/v1/events", "application/json", msgspec.json.encode({"event": event})
    )


def openmeter_request(export: UsageExport) -> BillingRequest:
    """A CloudEvent; its type is the meter, and the billing_id its subject."""
    event = {
        "specversion": "1.0",
        "id": export.identifier,
        "source": "usage",
        "type": export.meter,
        "subject": export.billing_id,
        "time": export.at.isoformat().replace("+00:00", "Z"),
        "data": {"value": export.value},
    }
    media_type = "application/cloudevents+json"
    return BillingRequest("/api/v1/events", media_type, msgspec.json.encode(event))


REQUESTS: Mapping[System, Callable[[UsageExport], BillingRequest]] = {
    "stripe": stripe_request,
    "lago": lago_request,
    "openmeter": openmeter_request,
}


def is_known(system: System, status: int, body: bytes) -> bool:
    """Whether a refusal says that the identifier was received before: Stripe and Lago refuse a
    repeat, OpenMeter accepts it."""
    text = body.lower()
    if system == "stripe":
        return status == 400 and b"already exists with identifier" in text
    return system == "lago" and status == 422 and b"value_already_exist" in text
