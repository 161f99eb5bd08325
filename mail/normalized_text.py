"""Text as a reader perceives it: RFC 3454, its mapping and NFKC (§3, §4).

One line, single spaces, wide and mathematical letters folded, nothing invisible. For analysis of
input only, never for output.
"""

import re
import unicodedata

# Most of RFC 3454's table B.1 (soft hyphen, zero-width spaces, BOM): they split words invisibly.
_INVISIBLE = "\xad\u200b\u200c\u200d\u2060\ufeff\u034f\u180e"
# White space for str.split, but not for bytes.split.
_SPACES = "\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ODD = re.compile(f"[{_SPACES}]")
_REPLACED_MAX = 50  # with more different characters, one pass over all is cheaper
_ASCII = bytes(range(128))
_COMMON = bytes(each for each in _ASCII if chr(each) not in _SPACES)
# Characters beyond these blocks (Latin, Greek, Cyrillic, signs, CJK, emoji) can compose with the
# one before.
_COMPOSING = re.compile(
    rf"[^{_INVISIBLE}\x00-\u02ff\u0370-\u0482\u048a-\u0590\u1e00-\u20cf\u2100-\u2bff\u3000-\u3029"
    r"\u3030-\u3098\u309b-\u312f\u4e00-\u9fff\ufe00-\ufe0f\U0001f000-\U0001faff]"
)


def normalize(text: str) -> str:
    """The normalized text, in one line."""
    text = " ".join(text.split())
    if not text.isascii():
        for each in _INVISIBLE:  # eight replaces cost a tenth of one translate
            text = text.replace(each, "")
        text = _nfkc(text, text.encode().translate(None, _ASCII).decode())
    return text


def normalize_and_lower(text: str) -> tuple[str, bytes]:
    """A long text normalized, and the same in lower case as UTF-8. Uses the faster bytes methods
    for all but the few odd characters.
    """
    encoded = text.encode()
    letters = encoded.translate(None, _COMMON).decode()
    odd = set(letters)
    if spaces := set(_ODD.findall(letters)):
        for each in spaces:
            text = text.replace(each, " ")
        encoded = text.encode()
    text = b" ".join(encoded.split()).decode()
    for each in odd.intersection(_INVISIBLE):
        text = text.replace(each, "")
    text = _nfkc(text, letters)
    return text, _lower(text)


def _lower(text: str) -> bytes:
    encoded = text.encode()
    letters = set(encoded.translate(None, _ASCII).decode())
    capitals = [each for each in letters if each != each.lower()]
    if "Σ" in letters or len(capitals) > _REPLACED_MAX:  # the case of Σ depends on its place
        return text.lower().encode()
    for each in capitals:
        text = text.replace(each, each.lower())
    return (text.encode() if capitals else encoded).lower()


def _nfkc(text: str, letters: str) -> str:
    """As unicodedata.normalize, without a look at each character if those beyond ASCII are few.
    letters: at least those of the text.
    """
    other = [each for each in set(letters) if not unicodedata.is_normalized("NFKC", each)]
    if len(other) > _REPLACED_MAX or _COMPOSING.search(letters):
        return unicodedata.normalize("NFKC", text)
    for each in other:
        text = text.replace(each, unicodedata.normalize("NFKC", each))
    return text
