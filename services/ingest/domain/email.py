"""Request bodies of the REST API for emails: Resend's fields, and more."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from services.ingest.domain.patterns import explained

Addresses = str | list[str]
Stream = Literal["transactional", "broadcast"]
Tls = Literal["opportunistic", "enforced"]
TrackingMode = Literal["anonymous", "pseudonymous", "identified", "full"]


_TAG_CHARACTERS = "ASCII letters, digits, hyphens and underscores, at most 256"
TAG_NAME = explained(r"^[A-Za-z0-9_-]{1,256}$(?!\n)", f"Use {_TAG_CHARACTERS}; not empty")
TAG_VALUE = explained(r"^[A-Za-z0-9_-]{0,256}$(?!\n)", f"Use {_TAG_CHARACTERS}")


UNSUBSCRIBE_URL = explained(
    r"^https://[!#-+\--;=?-~]+$(?!\n)",
    "Use an https URL in ASCII without spaces, commas, quotes and angle brackets",
)
UNSUBSCRIBE_MAILTO = explained(
    r"^[!#-+\--;=?-~]+@[!#-+\--;=?-~]+$(?!\n)",
    "Use an address, or a mailto URL, in ASCII without spaces and commas",
)
LIST = explained(
    r"^[!-~]([ -~]{0,198}[!-~])?$(?!\n)",
    "Use 1 to 200 printable ASCII characters, without spaces around them",
)
ListName = Annotated[str, Meta(max_length=200, pattern=LIST)]


class RequestModel(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Unknown fields are refused: a mistyped `scheduled_at` must not send the email at once."""


class Tag(RequestModel):
    """A label to filter lists and webhooks by. In Python `$` also matches before a final line
    break, in ECMAScript it does not: `$(?!\n)` is the end of the text in both."""

    name: Annotated[str, Meta(pattern=TAG_NAME)]
    value: Annotated[str, Meta(pattern=TAG_VALUE)] = ""


class Attachment(RequestModel):
    """A file. content: base64, or numbers, decoded by `attachments.decode_content`. Alternatively
    path: an https URL to fetch it from."""

    filename: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    path: str | None = None
    content: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    content_type: Annotated[str, Meta(max_length=255)] | None = None
    content_id: Annotated[str, Meta(max_length=200)] | None = None


class ListUnsubscribe(RequestModel):
    """The fields List-Unsubscribe and List-Unsubscribe-Post. url: of the sender's own, which must
    take the POST of RFC 8058 if one_click; by default one of the engine, which only a broadcast can
    have. The characters are those of `mail.unsubscribe`."""

    url: Annotated[str, Meta(max_length=900, pattern=UNSUBSCRIBE_URL)] | None = None
    mailto: Annotated[str, Meta(max_length=900, pattern=UNSUBSCRIBE_MAILTO)] | None = None
    one_click: bool = True


class SendEmailRequest(RequestModel, rename={"from_": "from", "list_": "list"}):
    """An email to send now or at `scheduled_at`. topic_id: Resend's name of `list`. tls: enforced
    sends it only to servers with TLS and a valid certificate."""

    from_: str
    to: Addresses
    subject: Annotated[str, Meta(max_length=5_000)]
    cc: Addresses | None = None
    bcc: Addresses | None = None
    reply_to: Addresses | None = None
    html: str | None = None
    text: str | None = None
    headers: dict[str, str] | None = None
    attachments: list[Attachment] | None = None
    tags: list[Tag] | None = None
    metadata: dict[str, str] | None = None
    scheduled_at: str | None = None
    stream: Stream | None = None
    tls: Tls | None = None
    track_opens: bool | None = None
    track_clicks: bool | None = None
    tracking_mode: TrackingMode | None = None
    list_unsubscribe: ListUnsubscribe | None = None
    list_: ListName | None = None
    topic_id: ListName | None = None
    test: bool = False


class SendRawRequest(RequestModel, rename={"list_": "list"}):
    """A complete message (RFC 5322) in base64, sent as it is. Recipients are those of to, cc and
    bcc, or else those that its header names."""

    raw: str
    to: Addresses | None = None
    cc: Addresses | None = None
    bcc: Addresses | None = None
    tags: list[Tag] | None = None
    metadata: dict[str, str] | None = None
    scheduled_at: str | None = None
    stream: Stream | None = None
    tls: Tls | None = None
    track_opens: bool | None = None
    track_clicks: bool | None = None
    tracking_mode: TrackingMode | None = None
    list_unsubscribe: ListUnsubscribe | None = None
    list_: ListName | None = None
    topic_id: ListName | None = None
    test: bool = False


class UpdateEmailRequest(RequestModel):
    """Changes to a scheduled email. id: resend-python repeats it here."""

    scheduled_at: str
    id: str | None = None


decode_email = msgspec.json.Decoder(SendEmailRequest).decode
decode_raw = msgspec.json.Decoder(SendRawRequest).decode
decode_update = msgspec.json.Decoder(UpdateEmailRequest).decode
decode_batch = msgspec.json.Decoder(list[msgspec.Raw]).decode
