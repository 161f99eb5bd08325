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
from services.shield.domain.campaign_index import to_proto
from services.shield.domain.learning.entries import pack_entries
from services.shield.domain.learning.fingerprints import fingerprint_of
from services.shield.domain.learning.versions import unpack_version
from services.shield.domain.link_hosts import hosts_of_links, queried_host
from services.shield.domain.model.file import load_model
from services.shield.domain.model.margin import Weighed
from services.shield.domain.rulebook import Thresholds, parse_rulebook
from services.shield.domain.scoring import Scorer, ScreeningResult, unreadable_result

REQUEST_HEADER = Struct("<Bdd")  # what to add; the tenant's thresholds: hold, block
SETUP_HEADER = Struct("<II")  # bytes of the rules, and of the model


class Extra(IntFlag):
    """What a response has besides the score. REASONS: also of a message that passes."""

    NONE = 0
    REASONS = 1
    FINGERPRINT = 2
    ENTRIES = 4  # what the model looks up for the text
    HOSTS = 8  # of links and of the sender, to look up in block lists


@dataclass(frozen=True, slots=True)
class Versions:
    """What a score was computed with."""

    rules: str
    model: str
    learned: str = ""


def encode_setup(rules: str, model: bytes, learned: bytes = b"") -> bytes:
    """What the child needs: the rules (TOML), the model file, and what was learned since; empty:
    nothing."""
    encoded = rules.encode()
    return SETUP_HEADER.pack(len(encoded), len(model)) + encoded + model + learned


def encode_request(content: bytes, limits: Thresholds, extra: Extra = Extra.NONE) -> bytes:
    """Encode a request to the child. content: a serialized Content."""
    return REQUEST_HEADER.pack(extra, limits.hold, limits.block) + content


def with_entries(request: bytes) -> bytes:
    """The same request, with the entries in its response."""
    return bytes([request[0] | Extra.ENTRIES]) + request[1:]


def create_screen(setup: bytes) -> Callable[[bytes], bytes]:
    """The handler of the child, from requests to ScoreResponses. setup: of `encode_setup`."""
    rules_size, model_size = SETUP_HEADER.unpack_from(setup)
    start = SETUP_HEADER.size + rules_size
    end = start + model_size
    rules = parse_rulebook(setup[SETUP_HEADER.size : start].decode())
    model = load_model(setup[start:end])
    learned = unpack_version(setup[end:], model.version) if setup[end:] else None
    return partial(screen, Scorer(rules, model, learned))


def screen(scorer: Scorer, request: bytes) -> bytes:
    flags, hold, block = REQUEST_HEADER.unpack_from(request)
    limits = Thresholds(hold, block)
    try:
        content = expand_submitted(Content.FromString(request[REQUEST_HEADER.size :]))
    except DecodeError:
        result = unreadable_result("content_unreadable", limits, Verdict.VERDICT_HOLD)
    else:
        result = scorer.score(content, thresholds=limits, quote=bool(flags & Extra.REASONS))
    learned = scorer.learned.version if scorer.learned else ""
    versions = Versions(scorer.book.version, scorer.model.version, learned)
    response = to_response(result, versions)
    if result.weighed is not None:
        add_extra(response, result.weighed, Extra(flags))
    return response.SerializeToString()


def add_extra(response: ScoreResponse, weighed: Weighed, extra: Extra) -> None:
    if extra & Extra.HOSTS:
        response.link_hosts.extend(hosts_of_links(weighed.features.targets))
        response.sender_domain = queried_host(weighed.features.sender_domain)
    response.margin = weighed.margin
    if extra & Extra.FINGERPRINT:
        response.fingerprint.CopyFrom(to_proto(fingerprint_of(weighed.features)))
    if extra & Extra.ENTRIES:
        response.entries = pack_entries(weighed.entries)


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
        learned_version=versions.learned,
    )
