"""Numbers of the HTML part. One pass over its beginning counts the tags; another finds out which of
the signs are worth a count."""

import re
from collections import Counter
from collections.abc import Iterable

import re2

from services.shield.domain.parsing import ParsedMessage

Numbers = dict[str, float]

MARKUP_BYTES = 40_000
TAG = re.compile(rb"<([a-z]{1,10})")
TAGS = ("table", "div", "p", "font", "span", "h1", "center", "b", "li")
FOUND = {
    "html_media_query": b"@media",
    "html_viewport": b"viewport",
    "html_mso": b"mso",
    "html_doctype": b"<!doctype",
    "html_title": b"<title",
    "html_cid": b"cid:",
    "html_data": b"data:image",
    "html_role": b" role=",
}
PIXELS = (b'width="1"', b'width="0"', b'height="1"', b'height="0"')
STYLE, CLASS, COMMENT, ENTITY = b"style=", b"class=", b"<!--", b"&#"
ALT, EMPTY_ALT = b" alt=", b' alt=""'
COUNTED = (*PIXELS, STYLE, CLASS, COMMENT, ENTITY, ALT)
SIGNS = (*FOUND.values(), *COUNTED)


def compile_signs(signs: Iterable[bytes]) -> "re2.Set":
    found = re2.Set.SearchSet()
    for each in signs:
        found.Add(re2.escape(each))
    found.Compile()
    return found


SIGN_SET = compile_signs(SIGNS)


def of_markup(message: ParsedMessage, words: int) -> Numbers:
    markup = message.markup[:MARKUP_BYTES].lower()
    found = Counter(message.page.tags)  # of the whole part
    begun = Counter(TAG.findall(markup))  # of its beginning
    seen = {SIGNS[at] for at in SIGN_SET.Match(markup) or ()}
    counts = {sign: markup.count(sign) if sign in seen else 0 for sign in COUNTED}
    empty = markup.count(EMPTY_ALT) if counts[ALT] else 0
    images = found["img"]
    return {
        "html": float(bool(markup)),
        "html_only": float(bool(markup) and not message.text),
        "html_bytes": len(message.markup),
        "html_per_word": len(message.markup) / (words + 10),
        "html_text_ratio": text_ratio(message),
        "html_images": images,
        "html_images_per_word": images / (words + 10),
        "html_image_texts": (counts[ALT] - empty) / (images + 1),
        "html_pixels": sum(counts[each] for each in PIXELS),
        "html_forms": found["form"] + found["input"],
        "html_areas": found["area"],
        "html_passwords": message.page.password_fields,
        "html_scripts": found["script"] + found["iframe"],
        "html_style_sheets": found["style"],
        "html_styles": counts[STYLE],
        "html_classes": counts[CLASS],
        "html_comments": counts[COMMENT],
        "html_entities": counts[ENTITY],
        "html_tags": sum(begun.values()),
        **{f"html_{tag}": begun[tag.encode()] for tag in TAGS},
        **{name: float(sign in seen) for name, sign in FOUND.items()},
    }


def text_ratio(message: ParsedMessage) -> float:
    """Characters of the text part per character of the visible HTML; 1 if a part is missing."""
    if not (message.text and message.html):
        return 1.0
    return min(10.0, len(message.text) / (len(message.page_text) + 10))
