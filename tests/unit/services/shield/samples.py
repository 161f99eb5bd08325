"""Sample messages, and a scorer to screen them with."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import services.shield
from contracts.ingest.v1.content_pb2 import Attachment, Content, Header
from contracts.shield.v1.events_pb2 import Verdict
from kernel.child import Child, ChildLimits, ChildResult
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.model.file import load_model
from services.shield.domain.rulebook import parse_rulebook
from services.shield.domain.scoring import Scorer, ScreeningResult
from services.shield.domain.screening import ScorerVersion, screen

PASS, HOLD, BLOCK = Verdict.VERDICT_PASS, Verdict.VERDICT_HOLD, Verdict.VERDICT_BLOCK


@cache
def rules_text() -> str:
    return Path(services.shield.__file__).with_name("rules.toml").read_text()


@cache
def packed_model() -> bytes:
    return Path(services.shield.__file__).with_name("shield.model").read_bytes()


@cache
def scorer() -> Scorer:
    return Scorer(parse_rulebook(rules_text()), load_model(packed_model()))


class InProcessChild(Child):
    """Runs the work in the process of the test."""

    def __init__(self) -> None:
        super().__init__("test", "", b"", limits=ChildLimits(1, 1))

    async def process(self, bodies: Sequence[bytes]) -> list[ChildResult]:
        return [*screen(scorer(), bodies)]


def screening_child(child: Child) -> ScreeningChild:
    book = scorer().book
    return ScreeningChild(
        child, book.thresholds, ScorerVersion(book.version, scorer().model.version)
    )


def make_content(
    subject: str = "Hello",
    *,
    text: str = "",
    html: str = "",
    sender: str = "Acme <hello@acme.example>",
    reply_to: tuple[str, ...] = (),
    headers: tuple[Header, ...] = (),
    attachments: tuple[Attachment, ...] = (),
) -> Content:
    content = Content(
        subject=subject,
        text=text,
        html=html,
        reply_to=reply_to,
        headers=headers,
        attachments=attachments,
    )
    setattr(content, "from", sender)
    return content


def screen_content(content: Content) -> ScreeningResult:
    return scorer().score(content, quote=True)


def rules(content: Content) -> dict[str, str]:
    """The rules that matched, with their details."""
    return {each.rule: each.detail for each in screen_content(content).reasons}
