"""What differs between the recipients of an email: tracking links, the pixel, and the URL to
unsubscribe. Each has a token, in a slot of the body or in a field."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice, zip_longest
from typing import NamedTuple
from uuid import UUID

from contracts.ingest.v1.content_pb2 import Content, Tracking, Unsubscribe
from contracts.ingest.v1.events_pb2 import MessageContext
from mail import submission, tracking, unsubscribe
from mail.compose import ComposedMessage, Email
from mail.html_part import find_html, replace_html
from mail.links import end_of_body, find_links
from mail.splice import SlottedText, compose_slotted
from mail.tracking import TrackingMode
from mail.unsubscribe import URL_PLACEHOLDER

STAND_IN = "https://unsubscribe.invalid/url"  # for the placeholder, where only a URL is a target
LINKS_MAX = 1000  # later ones are not tracked: each costs a signature per recipient
# The first segment of the path of each URL.
CLICK, OPEN, UNSUBSCRIBE = "c", "o", "u"


class TokenSlot(NamedTuple):
    """The place of a token that is not of a click. target: the list to unsubscribe from."""

    kind: str
    target: str = ""


Slot = str | TokenSlot
"""The place of a token; that of a click is only its URL, because a page has many."""


class MessageTokens(NamedTuple):
    """The tokens of one message. key: the derived key for tracking. mode: of opens and clicks.
    recipient, test: for the token to unsubscribe."""

    tenant_id: UUID
    message_id: UUID
    key: bytes
    mode: TrackingMode
    recipient: str
    test: bool

    @classmethod
    def of(cls, context: MessageContext, key: bytes, mode: TrackingMode) -> "MessageTokens":
        tenant_id, message_id = UUID(context.tenant_id), UUID(context.message_id)
        return cls(tenant_id, message_id, key, mode, context.recipient, context.test)

    def token(self, slot: TokenSlot) -> str:
        """That of a pixel has its suffix: a line of the body that began with it would have to be
        stuffed."""
        tenant_id, message_id, key, mode, recipient, test = self
        if slot.kind == OPEN:
            opened = tracking.PixelOpen(tenant_id, message_id, mode)
            return f"{tracking.open_token(opened, key)}.gif"
        subscription = unsubscribe.Subscription(
            tenant_id, message_id, slot.target, recipient, test=test
        )
        return unsubscribe.sign(subscription, key)

    def fill_links(self, texts: Sequence[str], urls: Sequence[str], *, before: str) -> str:
        """The texts around links, with a link to each URL between them. before: of its token."""
        count = len(urls)
        pieces = [before] * (4 * count + 1)
        pieces[::4], pieces[2::4] = texts, self._click_begins(urls)
        pieces[3::4] = map(tracking.click_token_end, urls)
        return "".join(pieces)

    def values(self, slots: Sequence[Slot]) -> list[str]:
        """What each slot gets; of a click the begin of its token, whose end is in the text."""
        clicks = iter(self._click_begins([one for one in slots if isinstance(one, str)]))
        return [next(clicks) if isinstance(one, str) else self.token(one) for one in slots]

    def _click_begins(self, urls: Sequence[str]) -> list[str]:
        return tracking.click_token_begins(
            self.tenant_id, self.message_id, urls, key=self.key, mode=self.mode
        )


def unsubscribe_fields(given: Unsubscribe, tokens: MessageTokens) -> tuple[bytes, ...]:
    """The fields of one message (RFC 2369, RFC 8058)."""
    url = given.url or unsubscribe_url(given, tokens)
    return unsubscribe.unsubscribe_fields(url, given.mailto or None, one_click=given.one_click)


def unsubscribe_url(given: Unsubscribe, tokens: MessageTokens) -> str:
    return _url(given.host, UNSUBSCRIBE) + tokens.token(TokenSlot(UNSUBSCRIBE, given.list))


def mode_of(content: Content) -> TrackingMode:
    return TrackingMode(content.tracking.mode or TrackingMode.IDENTIFIED)


def has_recipient_links(content: Content) -> bool:
    return content.HasField("tracking") or content.HasField("unsubscribe")


@dataclass(frozen=True, slots=True)
class EmailLinks:
    """Puts slots in the body of an email. own: the sender's own fields for it."""

    tracking: Tracking
    unsubscribe: Unsubscribe | None
    own: str = ""

    @classmethod
    def of(cls, content: Content) -> "EmailLinks":
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
        texts, urls = self._split_at_clicks(html)
        before, ends = _url(self.tracking.host, CLICK), ["", *map(tracking.click_token_end, urls)]
        fixed = [end + text + before for end, text in zip(ends, texts[:-1], strict=False)]
        fixed.append(ends[-1] + texts[-1])
        slots: list[Slot] = [*urls]
        if self.tracking.opens:
            fixed += self._split_at_pixel(fixed.pop())
            slots.append(TokenSlot(OPEN))
        return self._with_unsubscribe(fixed, slots, own_url=escape(self._own_url))

    def fill_text(self, text: str, tokens: MessageTokens) -> str:
        """The text for the only recipient."""
        return self._fill_unsubscribe(text, tokens, own_url=self._own_url)

    def fill_html(self, html: str, tokens: MessageTokens) -> str:
        """The html for the only recipient, the same as with slots. Slots cost twice as much."""
        texts, urls = self._split_at_clicks(html)
        if self.tracking.opens:
            texts[-1] = tokens.token(TokenSlot(OPEN)).join(self._split_at_pixel(texts[-1]))
        page = tokens.fill_links(texts, urls, before=_url(self.tracking.host, CLICK))
        return self._fill_unsubscribe(page, tokens, own_url=escape(self._own_url))

    def _split_at_clicks(self, html: str) -> tuple[list[str], list[str]]:
        """The texts around the URLs of links, and the URLs: all but those that unsubscribe, lead
        through the engine already, or are excluded."""
        if not self.tracking.clicks:
            return [html], []
        hosts = {self.tracking.host, self.unsubscribe.host if self.unsubscribe else ""}
        excluded = tuple([f".{one}" for one in self.tracking.excluded_hosts])
        own, own_url, has_own = self.own, self._own_url, self.unsubscribe is not None or self.own
        texts: list[str] = []
        urls: list[str] = []
        done, quote = 0, ""
        for start, end, url, host, is_quoted in islice(find_links(html), LINKS_MAX):
            if host in hosts:
                continue
            if has_own and (url == own_url or URL_PLACEHOLDER in url or f"<{url}>" in own):
                continue
            if excluded and f".{host}".endswith(excluded):
                continue
            text = quote + html[done:start]
            done, quote = end, "" if is_quoted else '"'
            texts.append(text + quote)
            urls.append(url)
        texts.append(quote + html[done:])
        return texts, urls

    def _split_at_pixel(self, html: str) -> tuple[str, str]:
        """Before and after the token of the pixel."""
        at = end_of_body(html)
        before = f'{html[:at]}<img src="{_url(self.tracking.host, OPEN)}'
        return before, f'" width="1" height="1" alt="" style="display:none">{html[at:]}'

    @property
    def _own_url(self) -> str:
        return self.unsubscribe.url if self.unsubscribe else ""

    def _fill_unsubscribe(self, text: str, tokens: MessageTokens, *, own_url: str) -> str:
        if (given := self.unsubscribe) is None or URL_PLACEHOLDER not in text:
            return text
        return text.replace(URL_PLACEHOLDER, own_url or unsubscribe_url(given, tokens))

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
        before, slot = _url(given.host, UNSUBSCRIBE), TokenSlot(UNSUBSCRIBE, given.list)
        for one, following in zip_longest(fixed, slots):
            pieces = one.split(URL_PLACEHOLDER)
            new_fixed += [*[piece + before for piece in pieces[:-1]], pieces[-1]]
            new_slots += [slot] * (len(pieces) - 1)
            new_slots += [following] if following else []
        return SlottedText(tuple(new_fixed), tuple(new_slots))


def _url(host: str, kind: str) -> str:
    return f"https://{host}/{kind}/"
