"""The code of the child process that screens messages: bytes to bytes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntFlag
from functools import partial
from struct import Struct
from typing import NamedTuple

from google.protobuf.message import DecodeError

from contracts.ingest.v1.content_pb2 import Attachment, Content, Header
from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from mail.body_parts import read_parts
from services.shield.domain.campaign_index import to_proto
from services.shield.domain.learning.entries import pack_entries
from services.shield.domain.learning.fingerprints import fingerprint_of
from services.shield.domain.learning.versions import LearnedVersion, unpack_version
from services.shield.domain.link_hosts import hosts_of_links, queried_host
from services.shield.domain.model.file import load_model
from services.shield.domain.model.margin import MatchedMessage, WeighedMessage
from services.shield.domain.rulebook import Thresholds, parse_rulebook
from services.shield.domain.scoring import Scorer, ScreeningResult, unreadable_result

REQUEST_HEADER = Struct("<Bdd")  # what to add; the tenant's thresholds: hold, block
SETUP_HEADER = Struct("<II")  # bytes of the rules, and of the model
LEARNED_HEADER = Struct("<I")  # bytes of the live version of what was learned


class ResponseExtra(IntFlag):
    """What a response has besides the score. REASONS: also of a message that passes."""

    NONE = 0
    REASONS = 1
    FINGERPRINT = 2
    ENTRIES = 4  # what the model looks up for the text
    HOSTS = 8  # of links and of the sender, to look up in block lists
    SHADOW = 16  # what the version says that scores beside the live one


@dataclass(frozen=True, slots=True)
class ScorerVersion:
    """What a score was computed with."""

    rules: str
    model: str
    learned: str = ""


def encode_setup(rules: str, model: bytes) -> bytes:
    """What the child needs: the rules (TOML) and the model file."""
    encoded = rules.encode()
    return SETUP_HEADER.pack(len(encoded), len(model)) + encoded + model


def with_learned(setup: bytes, live: bytes, shadow: bytes) -> bytes:
    """A setup with versions of what was learned since: the live one, and one that scores beside
    it; empty: none."""
    return setup + LEARNED_HEADER.pack(len(live)) + live + shadow


def encode_request(
    content: bytes, limits: Thresholds, extra: ResponseExtra = ResponseExtra.NONE
) -> bytes:
    """Encode a request to the child. content: a serialized Content."""
    return REQUEST_HEADER.pack(extra, limits.hold, limits.block) + content


def with_entries(request: bytes) -> bytes:
    """The same request, with the entries in its response."""
    return bytes([request[0] | ResponseExtra.ENTRIES]) + request[1:]


def create_screen(setup: bytes) -> Callable[[Iterable[bytes]], list[bytes]]:
    """The work of the child, from requests to ScoreResponses. setup: of `encode_setup`."""
    rules_size, model_size = SETUP_HEADER.unpack_from(setup)
    start = SETUP_HEADER.size + rules_size
    end = start + model_size
    rules = parse_rulebook(setup[SETUP_HEADER.size : start].decode())
    model = load_model(setup[start:end])
    live, shadow = versions_in(setup[end:], model.version)
    return partial(screen, Scorer(rules, model, live, shadow=shadow))


def versions_in(packed: bytes, model: str) -> tuple[LearnedVersion | None, LearnedVersion | None]:
    """The live version, and the one beside it. packed: what `with_learned` adds; empty: nothing."""
    if not packed:
        return None, None
    start = LEARNED_HEADER.size
    end = start + LEARNED_HEADER.unpack_from(packed)[0]
    live, shadow = (
        unpack_version(one, model) if one else None for one in (packed[start:end], packed[end:])
    )
    return live, shadow


class MatchedRequest(NamedTuple):
    """matched: None if the content cannot be read."""

    extra: ResponseExtra
    limits: Thresholds
    matched: MatchedMessage | None


def screen(scorer: Scorer, requests: Iterable[bytes]) -> list[bytes]:
    """One response per request, in order."""
    read = [read_request(scorer, each) for each in requests]
    weighed = iter(scorer.weigh([each.matched for each in read if each.matched]))
    return [respond(scorer, each, next(weighed) if each.matched else None) for each in read]


def read_request(scorer: Scorer, request: bytes) -> MatchedRequest:
    flags, hold, block = REQUEST_HEADER.unpack_from(request)
    try:
        content = expand_submitted(Content.FromString(request[REQUEST_HEADER.size :]))
    except DecodeError:
        return MatchedRequest(ResponseExtra(flags), Thresholds(hold, block), None)
    return MatchedRequest(ResponseExtra(flags), Thresholds(hold, block), scorer.read(content))


def respond(scorer: Scorer, request: MatchedRequest, weighed: WeighedMessage | None) -> bytes:
    extra, limits, _ = request
    if weighed is None:
        result = unreadable_result("content_unreadable", limits, Verdict.VERDICT_HOLD)
    else:
        result = scorer.result_of(weighed, limits, quote=bool(extra & ResponseExtra.REASONS))
    learned = scorer.learned.version if scorer.learned else ""
    response = to_response(
        result, ScorerVersion(scorer.book.version, scorer.model.version, learned)
    )
    if weighed is not None:
        add_extra(response, weighed, extra)
        if extra & ResponseExtra.SHADOW and (other := scorer.shadow_opinion(result)):
            response.shadow.CopyFrom(other)
    return response.SerializeToString()


def add_extra(response: ScoreResponse, weighed: WeighedMessage, extra: ResponseExtra) -> None:
    if extra & ResponseExtra.HOSTS:
        response.link_hosts.extend(hosts_of_links(weighed.message.targets))
        response.sender_domain = queried_host(weighed.message.sender_domain)
    response.margin = weighed.margin
    if extra & ResponseExtra.FINGERPRINT:
        response.fingerprint.CopyFrom(to_proto(fingerprint_of(weighed.message)))
    if extra & ResponseExtra.ENTRIES:
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


def to_response(result: ScreeningResult, versions: ScorerVersion) -> ScoreResponse:
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
