"""Stage 2's numbers: how a message is built, whatever it says."""

import re
from collections import Counter
from collections.abc import Sequence

import re2

from mail import unsubscribe
from mail.address import domain_of
from services.shield.domain.links import MessageLink, registered_domain
from services.shield.domain.model.link_numbers import of_links, own_label
from services.shield.domain.model.markup_numbers import of_markup
from services.shield.domain.parsing import ParsedMessage

Numbers = dict[str, float]

SAMPLE_CHARS = 3_000  # enough to judge the style
STOP_WORDS = frozenset(
    {
        "a", "all", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can",
        "do", "for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if",
        "in", "is", "it", "its", "me", "more", "my", "no", "not", "of", "on", "one", "or",
        "our", "out", "she", "so", "some", "than", "that", "the", "their", "them", "then",
        "there", "they", "this", "to", "up", "was", "we", "were", "what", "when", "which",
        "who", "will", "with", "would", "you", "your",
    }
)  # fmt: skip
YOU, ME = frozenset({"you", "your", "yours"}), frozenset({"i", "me", "my"})
US = frozenset({"we", "our", "us"})
STYLE_WORDS = STOP_WORDS | YOU | ME | US
DIGITS = b"0123456789"
CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASCII = bytes(range(128))
PUNCTUATION = ".,;:!?\"'()"
SIGNS = b"!?$%*#@~^+=<>|"
# In lower case, from a set of first characters, for which the search is fast.
MONEY = re.compile(
    r"[$£€0-9](?:(?<=[$£€]) ?[0-9]|(?<=[0-9]) ?(?:[$£€]|usd\b|eur\b|gbp\b|dollars?\b))"
)
GREETING = re.compile(r"(?:dear|hi|hello|hey|attention|attn|greetings|good day)\b", re.IGNORECASE)
PERSONAL = re.compile(r"(?:dear|hi|hello|hey),? [A-Z]?[a-z]{2,15},", re.IGNORECASE)
# In lower case; RE2, which tries all alternatives at once.
PHONE = re2.compile(rb"(?:^|[^\d.-])\+?\d?[ .-]?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?:\D|$)")
ADDRESS = re2.compile(
    rb"\b\d{1,5} [a-z]{2,20} (?:[a-z]{2,20} )?"
    rb"(?:st|street|ave|avenue|rd|road|blvd|lane|ln|drive|dr|suite|way|square)\b"
)
UNSUBSCRIBE = re2.compile(
    rb"unsubscri|opt[- ]?out|manage (?:your )?(?:email )?preferences|abmelden|abbestellen"
    rb"|d\x{e9}sabonner|desabonner|desinscri|cancelar (?:la )?suscripci"
)
FILE_TYPES = {
    "pdf": "pdf", "doc": "office", "docx": "office", "xls": "office", "xlsx": "office",
    "ppt": "office", "pptx": "office", "csv": "office", "jpg": "image", "jpeg": "image",
    "png": "image", "gif": "image", "webp": "image", "htm": "page", "html": "page", "svg": "page",
    "zip": "archive", "rar": "archive", "7z": "archive", "gz": "archive", "ics": "calendar",
}  # fmt: skip


def numbers_of(message: ParsedMessage) -> Numbers:
    """The same names in the same order for every message."""
    sample = message.longer_text[:SAMPLE_CHARS]
    words = sample.split()
    links = [each for each in message.links if each.target.host]
    return {
        **of_text(sample, words),
        **of_subject(message.subject[:SAMPLE_CHARS]),
        **of_sender(message),
        **of_links(links, message, len(words)),
        **of_lists(message, links),
        **of_markup(message, len(words)),
        **of_files(message),
    }


def of_text(sample: str, words: Sequence[str]) -> Numbers:
    count, encoded = len(words) + 1, sample.encode()
    chars = len(encoded) + 1
    folded = sample.lower()
    lower = [each.strip(PUNCTUATION) for each in folded.split()]
    style = Counter([each for each in lower if each in STYLE_WORDS])
    searched = folded.encode()
    return {
        "text_words": len(words),
        "text_capitals": len([w for w in words if w.isupper() and len(w) > 3]) / count,
        "text_capital_letters": count_bytes(encoded, CAPITALS) / chars,
        "text_digits": count_bytes(encoded, DIGITS) / chars,
        "text_not_ascii": (chars - 1 - count_bytes(encoded, ASCII)) / chars,
        "text_exclamations": 100 * encoded.count(b"!") / count,
        "text_questions": 100 * encoded.count(b"?") / count,
        "text_amounts": 100 * len(MONEY.findall(folded)) / count,
        "text_stop_words": share_of(style, STOP_WORDS) / count,
        "text_distinct": len(set(lower)) / count,
        "text_word_length": sum(map(len, words)) / count,
        "text_longest_word": max(map(len, words), default=0),
        "text_you": share_of(style, YOU) / count,
        "text_me": share_of(style, ME) / count,
        "text_us": share_of(style, US) / count,
        "text_greeting": float(bool(GREETING.match(sample))),
        "text_personal_greeting": float(bool(PERSONAL.match(sample))),
        "text_postal_address": float(bool(ADDRESS.search(searched))),
        "text_phone": float(bool(PHONE.search(searched))),
        "text_copyright": float("©" in sample),
    }


def count_bytes(text: bytes, which: bytes) -> int:
    return len(text) - len(text.translate(None, which))


def share_of(words: Counter[str], which: frozenset[str]) -> int:
    return sum(words[each] for each in which if each in words)


def of_subject(subject: str) -> Numbers:
    encoded, letters = subject.encode(), sum(map(str.isalpha, subject))
    return {
        "subject_length": len(subject),
        "subject_words": len(subject.split()),
        "subject_capitals": sum(map(str.isupper, subject)) / (letters + 1),
        "subject_digits": count_bytes(encoded, DIGITS),
        "subject_signs": count_bytes(encoded, SIGNS),
        "subject_emoji": sum(each > "\u2190" and not each.isalnum() for each in subject),
        "subject_not_ascii": len(encoded) - count_bytes(encoded, ASCII),
    }


def of_sender(message: ParsedMessage) -> Numbers:
    """The display name against the address, never the domain itself."""
    name, _, address = message.sender.rpartition("<")
    words = re.findall(r"[^\W\d_]{3,}", name.lower())
    local = address.rpartition("@")[0].lower()
    domain = message.sender_domain
    replies = [domain_of(each) for each in message.content.reply_to[:5]]
    elsewhere = [r for r in replies if registered_domain(r) != registered_domain(domain)]
    return {
        "sender_name": float(bool(words)),
        "sender_name_words": len(words),
        "sender_name_capitals": float(bool(words) and name.isupper()),
        "sender_name_in_domain": float(any(each in domain for each in words)),
        "sender_name_in_address": float(any(each in local for each in words)),
        "sender_reply_to": float(bool(replies)),
        "sender_reply_elsewhere": float(bool(elsewhere)),
    }


def of_lists(message: ParsedMessage, links: Sequence[MessageLink]) -> Numbers:
    names = {each.name.lower() for each in message.content.headers[:50]}
    leaving = [each for each in links[:100] if "unsub" in each.url or "optout" in each.url]
    label = own_label(message)
    tail = message.longer_text[-SAMPLE_CHARS:].lower().encode()
    return {
        "list_unsubscribe": float(unsubscribe.FIELD.lower() in names),
        "list_unsubscribe_post": float(unsubscribe.POST_FIELD.lower() in names),
        "list_unsubscribe_words": float(bool(UNSUBSCRIBE.search(tail))),
        "list_unsubscribe_link": float(bool(leaving)),
        "list_unsubscribe_own": float(any(label in each.target.domain for each in leaving)),
    }


def of_files(message: ParsedMessage) -> Numbers:
    kinds = Counter(
        FILE_TYPES.get(each.filename.lower().rpartition(".")[2], "other")
        for each in message.attachments
    )
    return {
        "files": len(message.attachments),
        **{f"files_{kind}": kinds[kind] for kind in dict.fromkeys([*FILE_TYPES.values(), "other"])},
    }
