"""Messages are read in a child process, which one of them can crash without affecting the
others."""

import asyncio
from collections.abc import Sequence

import pytest

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel.child import Child, ChildLimits
from services.shield.domain import screening as program
from services.shield.domain.learning.versions import pack_version
from services.shield.domain.screening import (
    ResponseExtra,
    encode_request,
    encode_setup,
    screen,
    with_learned,
)
from tests.unit.services.shield.samples import (
    BLOCK,
    HOLD,
    PASS,
    make_content,
    packed_model,
    rules_text,
    scorer,
    screen_content,
    screening_child,
)
from tests.unit.services.shield.test_scoring import GTUBE, UNWANTED, WANTED
from tests.unit.services.shield.versions import version_that_adds

# The bounded tree of such a page takes some 60 MiB.
LEFT_OPEN = "<p>" + "".join(f"<i a={number:x}>" for number in range(2000)) + "<p>x" * 9000


def read(
    contents: Sequence[Content],
    *,
    memory_mib: int = 512,
    given: bytes = b"",
    extras: Sequence[ResponseExtra] = (ResponseExtra.REASONS,),
) -> list[ScoreResponse]:
    """extras: all contents are read once for each."""

    async def scenario() -> list[ScoreResponse]:
        bounds = ChildLimits(10.0, memory_mib << 20)
        setup = given or encode_setup(rules_text(), packed_model())
        child = Child("test", f"{program.__name__}:create_screen", setup, limits=bounds)
        limits = scorer().book.thresholds
        requests = [
            encode_request(each.SerializeToString(), limits, extra)
            for extra in extras
            for each in contents
        ]
        try:
            results = await screening_child(child).screen(requests)
        finally:
            await child.close()
        return [each for each in results if isinstance(each, ScoreResponse)]

    return asyncio.run(scenario())


def test_the_child_process_gives_the_same_result() -> None:
    contents = [
        make_content(text="hello"),
        make_content(text=GTUBE),
        make_content(html="<b>hello</b>"),
    ]
    found = read(contents)
    assert [each.verdict for each in found] == [PASS, BLOCK, PASS]
    assert [each.score for each in found] == [screen_content(each).score for each in contents]
    assert [tuple(each.reasons) for each in found] == [
        screen_content(each).reasons for each in contents
    ]


def test_a_batch_has_the_responses_of_its_messages_alone() -> None:
    contents = [*WANTED.values(), *UNWANTED.values(), make_content(text=GTUBE), make_content()]
    everything = (
        ResponseExtra.REASONS
        | ResponseExtra.FINGERPRINT
        | ResponseExtra.ENTRIES
        | ResponseExtra.HOSTS
    )
    limits = scorer().book.thresholds
    requests = [encode_request(c.SerializeToString(), limits, everything) for c in contents]
    unreadable = encode_request(b"\xff", limits, everything)
    requests.insert(3, unreadable)
    alone = [one for request in reversed(requests) for one in screen(scorer(), [request])]
    assert screen(scorer(), requests) == alone[::-1]
    assert ScoreResponse.FromString(alone[-4]).reasons[0].rule == "content_unreadable"


def test_a_page_that_takes_too_much_memory_is_held() -> None:
    contents = [make_content(text="hello"), make_content(html=LEFT_OPEN), make_content(text=GTUBE)]
    before, hostile, after = read(contents, memory_mib=16)
    assert (before.verdict, hostile.verdict, after.verdict) == (PASS, HOLD, BLOCK)
    assert hostile.reasons[0].rule == "content_too_complex"
    assert "memory" in hostile.reasons[0].detail


def test_a_version_of_what_was_learned_scores_beside_the_live_one() -> None:
    live, other = version_that_adds(-0.1, "live"), version_that_adds(1.0, "shadow")
    plain = encode_setup(rules_text(), packed_model())
    setup = with_learned(plain, pack_version(live), pack_version(other))
    contents = [make_content(text="hello"), make_content(text=GTUBE)]
    found = read(contents, given=setup, extras=(ResponseExtra.SHADOW, ResponseExtra.NONE))
    compared, alone = found[:2], found[2:]
    hello, blocked = compared
    assert hello.verdict == PASS
    assert hello.learned_version == live.version
    assert hello.shadow.model_version == other.version
    assert hello.shadow.score > screen_content(contents[0]).score > hello.score
    assert blocked.shadow.verdict == blocked.verdict == BLOCK  # by a floor, which no version moves
    assert [each.HasField("shadow") for each in alone] == [False, False]
    assert [each.score for each in alone] == [each.score for each in compared]


def test_without_another_version_nothing_is_compared() -> None:
    contents = [make_content(text="hello")]
    alone = with_learned(encode_setup(rules_text(), packed_model()), b"", b"")
    [found] = read(contents, given=alone, extras=[ResponseExtra.SHADOW])
    assert not found.HasField("shadow")
    assert not found.learned_version


def test_what_outcomes_have_taught_is_a_reason() -> None:
    setup = with_learned(
        encode_setup(rules_text(), packed_model()), pack_version(version_that_adds(1.0)), b""
    )
    content = make_content(text="hello")
    [found] = read([content], given=setup)
    [learned] = [one for one in found.reasons if one.rule == "learned"]
    assert learned.score == pytest.approx(found.score - screen_content(content).score, abs=0.01)
    assert learned.explanation
    assert learned.advice
    assert not [one for one in screen_content(content).reasons if one.rule == "learned"]
