"""Numbers of the HTML part. One pass over its beginning counts the tags."""

import re
from collections import Counter

from services.shield.domain.features import MessageFeatures

Numbers = dict[str, float]

MARKUP_BYTES = 40_000
TAG = re.compile(rb"<([a-z]{1,10})")
PIXELS = (b'width="1"', b'width="0"', b'height="1"', b'height="0"')
TAGS = ("table", "div", "p", "font", "span", "h1", "center", "b", "li")
SIGNS = {
    "html_media_query": b"@media",
    "html_viewport": b"viewport",
    "html_mso": b"mso",
    "html_doctype": b"<!doctype",
    "html_title": b"<title",
    "html_cid": b"cid:",
    "html_data": b"data:image",
    "html_role": b" role=",
}


def of_markup(features: MessageFeatures, words: int) -> Numbers:
    markup = features.markup[:MARKUP_BYTES].lower()
    found = Counter(features.page.tags)  # of the whole part
    begun = Counter(TAG.findall(markup))  # of its beginning
    images = found["img"]
    return {
        "html": float(bool(markup)),
        "html_only": float(bool(markup) and not features.text),
        "html_bytes": len(features.markup),
        "html_per_word": len(features.markup) / (words + 10),
        "html_text_ratio": text_ratio(features),
        "html_images": images,
        "html_images_per_word": images / (words + 10),
        "html_image_texts": (markup.count(b" alt=") - markup.count(b' alt=""')) / (images + 1),
        "html_pixels": sum(map(markup.count, PIXELS)),
        "html_forms": found["form"] + found["input"],
        "html_areas": found["area"],
        "html_passwords": features.page.password_fields,
        "html_scripts": found["script"] + found["iframe"],
        "html_style_sheets": found["style"],
        "html_styles": markup.count(b"style="),
        "html_classes": markup.count(b"class="),
        "html_comments": markup.count(b"<!--"),
        "html_entities": markup.count(b"&#"),
        "html_tags": sum(begun.values()),
        **{f"html_{tag}": begun[tag.encode()] for tag in TAGS},
        **{name: float(sign in markup) for name, sign in SIGNS.items()},
    }


def text_ratio(features: MessageFeatures) -> float:
    """Characters of the text part per character of the visible HTML; 1 if a part is missing."""
    if not (features.text and features.html):
        return 1.0
    return min(10.0, len(features.text) / (len(features.page_text) + 10))
