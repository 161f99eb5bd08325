"""Mailbox addresses: RFC 5321 §4.1.2, RFC 5322 §3.4, RFC 6531 §3.3, IDNA (RFC 5891, UTS 46).

Only deliverable addresses are accepted: one mailbox with a fully qualified domain. Groups, source
routes, address literals, comments and control characters are rejected, each with a reason that can
be shown to the user who entered the address.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import idna

from mail import encoded_words

_SPECIALS = frozenset('()<>[]:;@\\,."')  # RFC 5322 §3.2.3: a phrase with these is quoted


class AddressError(ValueError):
    """The text is not one deliverable address; the message says why."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One mailbox. `domain` is as written, in lower case; `canonical` makes it an A-label."""

    display_name: str
    local: str
    domain: str

    @property
    def address(self) -> str:
        """The addr-spec, `local@domain`."""
        return f"{self.local}@{self.domain}"


_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# At most 64 octets before the @ (RFC 5321 §4.5.3.1.1); the last label is not a number.
_USUAL = (
    rf"(?=[^@]{{1,64}}@)([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@((?:{_LABEL}\.)+(?=\S*[A-Za-z]){_LABEL})"
)
_PLAIN = re.compile(rf"(){_USUAL}").fullmatch
_NAMED = re.compile(rf"([{_ATEXT}.]+(?: [{_ATEXT}.]+)*) <{_USUAL}>").fullmatch
_DOT_ATOM = re.compile(rf"[{_ATEXT}\u0080-\U0010ffff]+(?:\.[{_ATEXT}\u0080-\U0010ffff]+)*")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}")
# An addr-spec that is safe in a header, wherever the mailbox comes from.
_UTF8 = r"\u00a1-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_QUOTED_SAFELY = r'"(?:[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\\[ -~])*"'
_WRITABLE = re.compile(rf"(?:[{_ATEXT}.{_UTF8}]+|{_QUOTED_SAFELY})@[A-Za-z0-9.-]+").fullmatch
_PHRASE_SAFE = re.compile(rf"[{_ATEXT}]+(?:[ ][{_ATEXT}]+)*")
_BAD_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
# Characters that no display name or file name needs: controls, line ends, surrogates, and the
# directional overrides and isolates (UAX #9), which reorder the text that follows.
HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
# Joiners spell names in Indic scripts, Persian and emoji.
_JOINERS = frozenset("\u200c\u200d")
# Japanese carriers assigned addresses with trailing or consecutive dots, which are still in use.
_DOTTED = frozenset(("docomo.ne.jp", "ezweb.ne.jp", "au.com"))
_SYMBOLS = frozenset(("So", "Sk"))  # emoji and their modifiers
_MAX_ADDRESS = 254  # RFC 5321 §4.5.3.1.3: 256 with the angle brackets
_MAX_DOMAIN = 253
_MAX_QUOTED = 500  # longer names become encoded words, which can be folded anywhere
_NEEDED = "an address looks like name@example.com"


def parse_mailbox(text: str) -> Mailbox:
    """One mailbox from `a@b.example`, `Name <a@b.example>` or `"Name" <a@b.example>`.

    Raises AddressError with the reason.
    """
    if len(text) > _MAX_ADDRESS or "--" in text or "=?" in text:  # before any pattern is tried
        return _parse_slowly(text)
    match = _NAMED(text) if text.endswith(">") else _PLAIN(text)
    if match is None:
        return _parse_slowly(text)
    return Mailbox(match[1], match[2], match[3].lower())


@lru_cache(maxsize=1_000)
def parse_mailbox_cached(text: str) -> Mailbox:
    """`parse_mailbox` for texts that repeat: an SMTP client names its sender for each message, and
    each recipient in the envelope and in the header."""
    return parse_mailbox(text)


def _parse_slowly(text: str) -> Mailbox:
    if len(text) > 2000:
        raise AddressError("the address is too long")
    _refuse_hidden(text)
    stripped = text.strip(" ")
    if not stripped:
        raise AddressError(f"the address is empty: {_NEEDED}")
    if stripped.endswith(">"):
        display, addr_spec = _split_angle(stripped)
    else:
        display, addr_spec = "", stripped
    _refuse_controls(addr_spec)
    local, domain_part = _split_addr_spec(addr_spec)
    checked = _check_domain(domain_part)
    mailbox = Mailbox(display, _check_local(local, dotted=checked in _DOTTED), checked)
    if len(canonical(mailbox).address.encode("utf-8")) > _MAX_ADDRESS:
        raise AddressError(f"the address is longer than {_MAX_ADDRESS} octets")
    return mailbox


def _refuse_hidden(phrase: str) -> None:
    """A display name can have any Unicode character, including directional marks, except line ends
    and characters that reorder the text that follows."""
    if match := HIDDEN.search(phrase):
        code = ord(match[0])
        raise AddressError(f"control character U+{code:04X} is not allowed in an address")


def _refuse_controls(text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    for char in text:
        if unicodedata.category(char) in _BAD_CATEGORIES and char not in _JOINERS:
            raise AddressError(f"control character U+{ord(char):04X} is not allowed in an address")


def _split_angle(text: str) -> tuple[str, str]:
    quoted = _QUOTED.match(text)
    start = text.find("<", quoted.end() if quoted else 0)
    if start < 0:
        raise AddressError("'>' without '<'")
    phrase = text[:start].strip(" ")
    if quoted and quoted.end() == len(phrase):
        display = _unquote(phrase)
    elif '"' in phrase:
        raise AddressError("the display name has an unbalanced quote")
    elif ":" in phrase or "," in phrase or ";" in phrase or "<" in phrase:
        raise AddressError(
            "more than one address. Give one, and quote a name that contains , : ; or <"
        )
    else:
        display = phrase
    display = unicodedata.normalize("NFC", encoded_words.decode(display))
    _refuse_hidden(display)  # decoding may have revealed one
    return " ".join(display.split()), text[start + 1 : -1].strip(" ")


def _unquote(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted[1:-1])


def _split_addr_spec(text: str) -> tuple[str, str]:
    if text.startswith('"'):
        quoted = _QUOTED.match(text)
        if quoted is None or text[quoted.end() : quoted.end() + 1] != "@":
            raise AddressError("the quoted local part is not followed by @")
        return quoted[0], text[quoted.end() + 1 :]
    if text.startswith("@"):
        raise AddressError("source routes are not accepted")
    local, at, domain_part = text.partition("@")
    if not at:
        raise AddressError(f"there is no @: {_NEEDED}")
    if "@" in domain_part:
        raise AddressError("there is more than one @")
    if ":" in local or domain_part.endswith(";"):
        raise AddressError("groups are not accepted. Give one address.")
    return local, domain_part


def _check_local(local: str, *, dotted: bool) -> str:
    local = unicodedata.normalize("NFC", local)
    if not local:
        raise AddressError("there is nothing before the @")
    if len(local.encode("utf-8")) > 64:
        raise AddressError("the part before the @ is longer than 64 octets")
    if local.startswith('"'):
        inner = _unquote(local)
        if _DOT_ATOM.fullmatch(inner):
            return inner  # RFC 5321 §4.1.2 prefers the unquoted form
        return _quote(inner)
    if _DOT_ATOM.fullmatch(local) and not _has_space(local):
        return local
    if local.startswith(".") or local.endswith(".") or ".." in local:
        if dotted and _DOT_ATOM.fullmatch(local.replace(".", "")):
            return _quote(local)  # the only form that RFC 5321 allows
        raise AddressError("the part before the @ has a dot at its start or end, or two in a row")
    bad = next((c for c in local if not _DOT_ATOM.fullmatch(c) and c != "."), " ")
    raise AddressError(f"character {bad!r} is not allowed before the @")


def _has_space(text: str) -> bool:
    return any(c.isspace() for c in text)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check_domain(text: str) -> str:
    if not text:
        raise AddressError("there is nothing after the @")
    if text.startswith("["):
        raise AddressError("an address literal is not accepted. Give a domain name.")
    lowered = unicodedata.normalize("NFC", text).lower()
    ascii_domain = parse_full_domain(lowered)
    return lowered if not lowered.isascii() else ascii_domain


def parse_full_domain(text: str) -> str:
    """A fully qualified domain name in the form of `to_ascii`; not a single label, not an IP
    address. Raises AddressError.
    """
    ascii_domain = to_ascii(text)
    if "." not in ascii_domain:
        raise AddressError(f"{text!r} is not a full domain name: it has no dot")
    if ascii_domain.rpartition(".")[2].isdigit():
        raise AddressError(f"{text!r} is not a domain name: it ends in a number")
    return ascii_domain


def to_ascii(domain_name: str) -> str:
    """The domain in A-labels and lower case (IDNA 2008 with UTS 46 mapping; emoji as in browsers).

    Raises AddressError if it is not a valid host name.
    """
    lowered = domain_name.lower()
    if not lowered.isascii():
        try:
            lowered = _a_labels(lowered)
        except (idna.IDNAError, UnicodeError) as error:
            raise AddressError(f"{domain_name!r} is not a valid domain name: {error}") from None
    elif "xn--" in lowered:
        _check_a_labels(lowered)
    if len(lowered) > _MAX_DOMAIN:
        raise AddressError(f"the domain is longer than {_MAX_DOMAIN} octets")
    if not _DOMAIN.fullmatch(f"{lowered}.x" if "." not in lowered else lowered):
        raise AddressError(f"{domain_name!r} is not a valid domain name")
    return lowered


def _a_labels(name: str) -> str:
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.InvalidCodepoint:
        return ".".join(map(_label_of_symbols, idna.uts46_remap(name).split(".")))


def _label_of_symbols(label: str) -> str:
    """The A-label of a label with emoji, which IDNA 2008 excludes but UTS 46 and registries
    allow."""
    if label.isascii():
        return label
    rest = "".join(char for char in label if unicodedata.category(char) not in _SYMBOLS)
    if not rest.isascii():
        idna.check_label(rest)
    return f"xn--{label.encode('punycode').decode('ascii')}"


def _check_a_labels(lowered: str) -> None:
    for label in lowered.split("."):
        if label.startswith("xn--"):
            try:
                good = _a_labels(label[4:].encode("ascii").decode("punycode")) == label
            except (idna.IDNAError, UnicodeError) as error:
                raise AddressError(f"{label!r} is not a valid IDNA label: {error}") from None
            if not good:
                raise AddressError(
                    f"{label!r} is not a valid IDNA label: it is not in canonical form"
                )


def ascii_domain(mailbox: Mailbox) -> str:
    """The domain for DNS: A-labels, lower case."""
    name = mailbox.domain
    return name if name.isascii() else to_ascii(name)


def user_without_detail(text: str) -> str:
    """The user of `User+detail@domain` (RFC 5233 §1.1), in lower case."""
    return text.partition("@")[0].partition("+")[0].lower()


def canonical(mailbox: Mailbox) -> Mailbox:
    """The same mailbox with the domain as A-labels; the local part is unchanged."""
    name = ascii_domain(mailbox)
    return mailbox if name == mailbox.domain else Mailbox(mailbox.display_name, mailbox.local, name)


def needs_smtputf8(mailbox: Mailbox) -> bool:
    """Whether this address requires a server with SMTPUTF8 (RFC 6531)."""
    return not mailbox.local.isascii()


def format_mailbox(mailbox: Mailbox) -> str:
    """The mailbox for a header: ASCII except for a UTF-8 local part, without line breaks.

    The domain is written as A-labels, since an addr-spec must not contain encoded words.
    """
    addr_spec = f"{mailbox.local}@{ascii_domain(mailbox)}"
    if not _WRITABLE(addr_spec):
        raise AddressError("the address has a character that cannot be in a header")
    name = mailbox.display_name
    if not name:
        return addr_spec
    return f"{_format_phrase(name)} <{addr_spec}>"


def format_for_display(mailbox: Mailbox) -> str:
    """The mailbox for display, with a Unicode name (RFC 6532); `parse_mailbox` accepts it."""
    name = mailbox.display_name
    if name.isascii() and "=?" not in name:
        return format_mailbox(mailbox)
    plain = "=?" not in name and not _SPECIALS.intersection(name)
    return f"{name if plain else _quote(name)} <{canonical(mailbox).address}>"


def _format_phrase(name: str) -> str:
    if name.isascii() and "=?" not in name and len(name) <= _MAX_QUOTED:
        if not name.isprintable():
            raise AddressError("the display name has a control character")
        return name if _PHRASE_SAFE.fullmatch(name) else _quote(name)
    _refuse_hidden(name)
    return " ".join(encoded_words.encode(name, first=60))  # leaves space for the field name


def parse_list(text: str) -> tuple[Mailbox, ...]:
    """The mailboxes of an address-list (To, Cc) without groups. Raises AddressError."""
    return tuple(parse_mailbox(part) for part in split_list(text) if part)


def split_list(text: str) -> Iterable[str]:
    """Split an address list at its commas, except commas in quotes or angle brackets."""
    return _split_at_commas(text) if "," in text else (text.strip(),)


def _split_at_commas(text: str) -> Iterator[str]:
    depth_quote = depth_angle = False
    escaped, start = False, 0
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = depth_quote
        elif char == '"':
            depth_quote = not depth_quote
        elif depth_quote:
            continue
        elif char in "<>":
            depth_angle = char == "<"
        elif char == "," and not depth_angle:
            yield text[start:index].strip()
            start = index + 1
    yield text[start:].strip()


def domain_of(text: str) -> str:
    """The text after the last @ of a mailbox, in lower case, unchecked. For analysis of input that
    `parse_mailbox` would reject.
    """
    return text.rpartition("@")[2].strip(" <>\"'\t").lower()
