"""The mail to the owner of a webhook endpoint that was disabled."""

from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

REASONS = {
    "gone": "it responded with 410 Gone",
    "failing": "it has not responded with success for five days",
}
TAG = "webhook-disabled"
TEXT = """\
The webhook {id} was disabled at {at:%Y-%m-%d %H:%M} UTC: {reason}.

{url}

The events that waited for it are kept, but those that occur from now on are not sent to it. When
it works again, enable it by PATCH /v1/webhooks/{id} with {{"status": "enabled"}}. What it has
missed can be sent by POST /v1/webhooks/{id}/recover with the time in "since".
"""


class DisabledEndpoint(NamedTuple):
    """account_wide: its owner is an account, else a tenant. reason: gone or failing."""

    id: str
    owner_id: str
    account_wide: bool
    url: str
    reason: str
    disabled_at: datetime

    @property
    def notice_key(self) -> str:
        """Of one mail, however often it is sent."""
        return f"{TAG} {self.id} {int(self.disabled_at.timestamp() * 1000)}"


def notice_of(endpoint: DisabledEndpoint, *, sender: str, to: str) -> dict[str, object]:
    """The body of the request that sends it. It has no query of the URL, which may be a secret."""
    parts = urlsplit(endpoint.url)
    text = TEXT.format(
        id=endpoint.id,
        at=endpoint.disabled_at,
        reason=REASONS.get(endpoint.reason, endpoint.reason),
        url=f"{parts.scheme}://{parts.hostname}{parts.path}",
    )
    return {
        "from": sender,
        "to": to,
        "subject": f"A webhook was disabled: {parts.hostname}",
        "text": text,
        "tags": [{"name": "kind", "value": TAG}],
    }
