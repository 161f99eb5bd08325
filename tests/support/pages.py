"""The pages of docs/: their code blocks, and the comparison of an output with what a page shows."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(r"^(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Values that differ in every run: ids, times, keys.
_UNIQUE = re.compile(
    r"\b[0-9a-f]{10}(?=-(?:rsa|ed25519)\b)|"  # DKIM selectors
    r"(?<![0-9a-z-])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
    r"|\bobm_(?:test|live)_\w+|\breq_[0-9a-f]+|\bwhsec_[\w+/=]+"
)
ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block. comment: the HTML comment on the line before it."""

    page: str
    line: int
    comment: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(page: Path) -> list[Block]:
    return list(_iterate_blocks(str(page.relative_to(ROOT)), page.read_text()))


def _iterate_blocks(page: str, text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[1] or "", found[2], found[3])


def is_shown(output: str, block: Block) -> bool:
    """Whether an output is the one that the block shows."""
    if block.language != "json":
        return _matches_text(output, block.text)
    try:
        return _matches(json.loads(output), json.loads(block.text))
    except ValueError:
        return False


def _matches(actual: object, shown: object) -> bool:
    """Objects may have more members than the page shows; a list may be longer after an ellipsis."""
    if isinstance(shown, dict):
        return isinstance(actual, dict) and all(
            name in actual and _matches(actual[name], value) for name, value in shown.items()
        )
    if isinstance(shown, list) and isinstance(actual, list):
        is_open = shown[-1:] == [ELLIPSIS]
        items = shown[:-1] if is_open else shown
        same_length = len(items) <= len(actual) if is_open else len(items) == len(actual)
        return same_length and all(map(_matches, actual, items))
    if isinstance(shown, str) and isinstance(actual, str):
        return _matches_text(actual, shown)
    return actual == shown


def _matches_text(actual: str, shown: str) -> bool:
    pieces = _UNIQUE.sub("<unique>", shown.strip()).split(ELLIPSIS)
    pattern = ".*".join(map(re.escape, pieces))
    return re.fullmatch(pattern, _UNIQUE.sub("<unique>", actual.strip()), re.DOTALL) is not None
