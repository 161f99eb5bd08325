"""What differs between the recipients of an email: tracking links, the pixel, and the URL to
unsubscribe. Each has a token, in a slot of the body or in a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice, zip_longest
from typing import NamedTuple
from uuid import UUID

from contracts.ingest.v1.content_pb2 import Content, Tracking, Unsubscribe
from mail import submission, tracking, unsubscribe
from mail.compose import ComposedMessage, Email
from mail.html_part import find_html, replace_html
from mail.links import end_of_body, find_links
from mail.splice import SlottedText, compose_slotted, encode_value
from mail.tracking import TrackingMode
from mail.unsubscribe import URL_PLACEHOLDER

STAND_IN = "https://unsubscribe.invalid/url"  # for the placeholder, where only a URL is a target
LINKS_MAX = 1000  # later ones are not tracked: each costs a signature per recipient
# The first segment of the path of each URL.
CLICK, OPEN, UNSUBSCRIBE = "c", "o", "u"


class Slot(NamedTuple):
    """The place of a token. target: the URL of a click, or the list to unsubscribe from."""

    kind: str
    target: str = ""


class MessageTokens(NamedTuple):
    """The tokens of one message. key: the derived key for tracking. mode: of opens and clicks.
    recipient, test: for the token to unsubscribe."""

    tenant_id: UUID
    message_id: UUID
    key: bytes
    mode: TrackingMode
    recipient: str
    test: bool

    def token(self, slot: Slot) -> str:
        """Of any slot but a click, with the suffix of a pixel: a line of the body that began with
        it would have to be stuffed."""
        tenant_id, message_id, key, mode, recipient, test = self
        if slot.kind == OPEN:
            opened = tracking.PixelOpen(tenant_id, message_id, mode)
            return f"{tracking.open_token(opened, key)}.gif"
        subscription = unsubscribe.Subscription(
            tenant_id, message_id, slot.target, recipient, test=test
        )
        return unsubscribe.sign(subscription, key)

    def values(self, slots: Sequence[Slot]) -> dict[Slot, bytes]:
        """The encoded tokens, each signed once."""
        distinct = dict.fromkeys(slots)
        clicks = [slot for slot in distinct if slot.kind == CLICK]
        urls = [slot.target for slot in clicks]
        tokens = tracking.click_tokens(
            self.tenant_id, self.message_id, urls, key=self.key, mode=self.mode
        )
        found = dict(zip(clicks, map(encode_value, tokens), strict=True))
        for slot in distinct:
            if slot.kind != CLICK:
                found[slot] = encode_value(self.token(slot))
        return found


def unsubscribe_fields(given: Unsubscribe, tokens: MessageTokens) -> tuple[bytes, ...]:
    """The fields of one message (RFC 2369, RFC 8058)."""
    url = given.url or _url(given.host, UNSUBSCRIBE) + tokens.token(Slot(UNSUBSCRIBE, given.list))
    return unsubscribe.unsubscribe_fields(url, given.mailto or None, one_click=given.one_click)


def mode_of(content: Content) -> TrackingMode:
    return TrackingMode(content.tracking.mode or TrackingMode.IDENTIFIED)


def has_recipient_links(content: Content) -> bool:
    return content.HasField("tracking") or content.HasField("unsubscribe")


@dataclass(frozen=True, slots=True)
class RecipientLinks:
    """Puts slots in the body of an email. own: the sender's own fields for it."""

    tracking: Tracking
    unsubscribe: Unsubscribe | None
    own: str = ""

    @classmethod
    def of(cls, content: Content) -> "RecipientLinks":
        given = content.unsubscribe if content.HasField("unsubscribe") else None
        own = [one.value for one in content.headers if unsubscribe.is_field(one.name)]
        return cls(content.tracking, given, "".join(own))

    def compose(self, email: Email) -> tuple[ComposedMessage, tuple[Slot, ...]]:
        """The message with marks, and their slots. Raises as `mail.compose`."""
        html = None if email.html is None else self.slot_html(email.html)
        text = None if email.text is None and html else self.slot_text(email.text or "")
        composed = compose_slotted(email, plain=text, html=html)
        return composed, (*(text.keys if text else ()), *(html.keys if html else ()))

    def add_to_submitted(
        self, message: ComposedMessage
    ) -> tuple[ComposedMessage, tuple[Slot, ...]]:
        """The same for the html of a message that was submitted as a whole."""
        raw = message.as_bytes()
        part = find_html(raw)
        text = self.slot_html(part.html) if part else None
        if part is None or text is None or not text.keys:
            return message, ()
        return submission.split_message(replace_html(raw, part, text)), text.keys

    def slot_text(self, text: str) -> SlottedText[Slot]:
        return self._with_unsubscribe([text], [], own_url=self._own_url)

    def slot_html(self, html: str) -> SlottedText[Slot]:
        fixed, slots = self._with_clicks(html) if self.tracking.clicks else ([html], [])
        if self.tracking.opens:
            last = fixed.pop()
            at = end_of_body(last)
            before = f'<img src="{_url(self.tracking.host, OPEN)}'
            after = '" width="1" height="1" alt="" style="display:none">'
            fixed += (last[:at] + before, after + last[at:])
            slots.append(Slot(OPEN))
        return self._with_unsubscribe(fixed, slots, own_url=escape(self._own_url))

    def _with_clicks(self, html: str) -> tuple[list[str], list[Slot]]:
        """With slots in links but those that unsubscribe, lead through the engine already, or are
        excluded."""
        before = _url(self.tracking.host, CLICK)
        hosts = {self.tracking.host, self.unsubscribe.host if self.unsubscribe else ""}
        excluded = tuple([f".{one}" for one in self.tracking.excluded_hosts])
        own, own_url, has_own = self.own, self._own_url, self.unsubscribe is not None or self.own
        fixed: list[str] = []
        slots: list[Slot] = []
        done, quote = 0, ""
        for start, end, url, host, is_quoted in islice(find_links(html), LINKS_MAX):
            named = tracking.in_a_labels(host)
            if named in hosts:
                continue
            if has_own and (url == own_url or URL_PLACEHOLDER in url or f"<{url}>" in own):
                continue
            if excluded and f".{named}".endswith(excluded):
                continue
            opening = quote + html[done:start]
            done, quote = end, "" if is_quoted else '"'
            fixed.append(opening + quote + before)
            slots.append(Slot(CLICK, url))
        fixed.append(quote + html[done:])
        return fixed, slots

    @property
    def _own_url(self) -> str:
        return self.unsubscribe.url if self.unsubscribe else ""

    def _with_unsubscribe(
        self, fixed: Sequence[str], slots: Sequence[Slot], *, own_url: str
    ) -> SlottedText[Slot]:
        """With the URL in place of each placeholder. own_url: the sender's, if it is that."""
        if (given := self.unsubscribe) is None or not any(URL_PLACEHOLDER in one for one in fixed):
            return SlottedText(tuple(fixed), tuple(slots))
        if own_url:
            replaced = [one.replace(URL_PLACEHOLDER, own_url) for one in fixed]
            return SlottedText(tuple(replaced), tuple(slots))
        new_fixed: list[str] = []
        new_slots: list[Slot] = []
        before, slot = _url(given.host, UNSUBSCRIBE), Slot(UNSUBSCRIBE, given.list)
        for one, following in zip_longest(fixed, slots):
            pieces = one.split(URL_PLACEHOLDER)
            new_fixed += [*[piece + before for piece in pieces[:-1]], pieces[-1]]
            new_slots += [slot] * (len(pieces) - 1)
            new_slots += [following] if following else []
        return SlottedText(tuple(new_fixed), tuple(new_slots))


def _url(host: str, kind: str) -> str:
    return f"https://{host}/{kind}/"
