"""The code of the child process that screens messages: bytes to bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from functools import partial
from struct import Struct

from google.protobuf.message import DecodeError

from contracts.ingest.v1.content_pb2 import Attachment, Content, Header
from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from mail.body_parts import read_parts
from services.shield.domain.link_hosts import hosts_of_links, queried_host
from services.shield.domain.model.file import load_model
from services.shield.domain.model.margin import Weighed
from services.shield.domain.rulebook import Thresholds, parse_rulebook
from services.shield.domain.scoring import Scorer, ScreeningResult, unreadable_result

REQUEST_HEADER = Struct("<Bdd")  # what to add; the tenant's thresholds: hold, block
SETUP_HEADER = Struct("<I")  # bytes of the rules


class Extra(IntFlag):
    """What a response has besides the score. REASONS: also of a message that passes."""

    NONE = 0
    REASONS = 1
    HOSTS = 8  # of links and of the sender, to look up in block lists


@dataclass(frozen=True, slots=True)
class Versions:
    """What a score was computed with."""

    rules: str
    model: str


def encode_setup(rules: str, model: bytes) -> bytes:
    """What the child needs: the rules (TOML) and the model file."""
    encoded = rules.encode()
    return SETUP_HEADER.pack(len(encoded)) + encoded + model


def encode_request(content: bytes, limits: Thresholds, extra: Extra = Extra.NONE) -> bytes:
    """Encode a request to the child. content: a serialized Content."""
    return REQUEST_HEADER.pack(extra, limits.hold, limits.block) + content


def create_screen(setup: bytes) -> Callable[[bytes], bytes]:
    """The handler of the child, from requests to ScoreResponses. setup: of `encode_setup`."""
    [size] = SETUP_HEADER.unpack_from(setup)
    end = SETUP_HEADER.size + size
    rules = parse_rulebook(setup[SETUP_HEADER.size : end].decode())
    return partial(screen, Scorer(rules, load_model(setup[end:])))


def screen(scorer: Scorer, request: bytes) -> bytes:
    flags, hold, block = REQUEST_HEADER.unpack_from(request)
    limits = Thresholds(hold, block)
    try:
        content = expand_submitted(Content.FromString(request[REQUEST_HEADER.size :]))
    except DecodeError:
        result = unreadable_result("content_unreadable", limits, Verdict.VERDICT_HOLD)
    else:
        result = scorer.score(content, thresholds=limits, quote=bool(flags & Extra.REASONS))
    response = to_response(result, Versions(scorer.book.version, scorer.model.version))
    if result.weighed is not None:
        add_extra(response, result.weighed, Extra(flags))
    return response.SerializeToString()


def add_extra(response: ScoreResponse, weighed: Weighed, extra: Extra) -> None:
    if extra & Extra.HOSTS:
        response.link_hosts.extend(hosts_of_links(weighed.features.targets))
        response.sender_domain = queried_host(weighed.features.sender_domain)


def expand_submitted(content: Content) -> Content:
    """The content with the parts of a message that was submitted as a whole."""
    if content.raw:
        found = read_parts(content.raw)
        content.ClearField("raw")
        content.text, content.html = found.text, found.html
        content.headers.extend(Header(name=name, value=value) for name, value in found.fields)
        content.attachments.extend(
            Attachment(
                filename=one.filename,
                content_type=one.content_type,
                content=one.content,
                content_id=one.content_id or "",
            )
            for one in found.attachments
        )
    return content


def to_response(result: ScreeningResult, versions: Versions) -> ScoreResponse:
    return ScoreResponse(
        verdict=result.verdict,
        score=result.score,
        reasons=result.reasons,
        hold_score=result.thresholds.hold,
        block_score=result.thresholds.block,
        rules_version=versions.rules,
        model_version=versions.model,
    )
