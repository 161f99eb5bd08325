"""Messages are read in a process that one of them may end; the others never notice."""

import asyncio
from collections.abc import Sequence

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel.child import Bounds, Child
from services.shield.domain import reader as program
from services.shield.domain.reader import asked
from tests.unit.services.shield.letters import (
    BLOCK,
    HOLD,
    PASS,
    letter,
    opinion,
    reader,
    rules_text,
    scorer,
)
from tests.unit.services.shield.test_scoring import GTUBE

# What is left of such a page when its tree is bounded takes some 60 MiB.
LEFT_OPEN = "<p>" + "".join(f"<i a={number:x}>" for number in range(2000)) + "<p>x" * 9000


def read(letters: Sequence[Content], *, memory_mib: int = 512) -> list[ScoreResponse]:
    async def story() -> list[ScoreResponse]:
        bounds = Bounds(10.0, memory_mib << 20)
        child = Child("test", f"{program.__name__}:start", rules_text().encode(), bounds=bounds)
        limits = scorer().book.thresholds
        questions = [asked(each.SerializeToString(), limits, quote=True) for each in letters]
        try:
            answers = await reader(child).read(questions)
        finally:
            await child.close()
        return [each for each in answers if isinstance(each, ScoreResponse)]

    return asyncio.run(story())


def test_what_is_read_elsewhere_is_thought_of_as_here() -> None:
    letters = [letter(text="hello"), letter(text=GTUBE), letter(html="<b>hello</b>")]
    found = read(letters)
    assert [each.verdict for each in found] == [PASS, BLOCK, PASS]
    assert [each.score for each in found] == [opinion(each).score for each in letters]
    assert [tuple(each.reasons) for each in found] == [opinion(each).reasons for each in letters]


def test_a_page_that_takes_too_much_memory_is_held_and_never_passes_half_read() -> None:
    letters = [letter(text="hello"), letter(html=LEFT_OPEN), letter(text=GTUBE)]
    before, hostile, after = read(letters, memory_mib=16)
    assert (before.verdict, hostile.verdict, after.verdict) == (PASS, HOLD, BLOCK)
    assert hostile.reasons[0].rule == "content_too_complex"
    assert "memory" in hostile.reasons[0].detail
