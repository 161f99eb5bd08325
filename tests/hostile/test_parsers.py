"""A parser accepts any input or refuses it with its own error."""

from collections.abc import Callable

import pytest

from services.ingest.domain.email import decode_batch, decode_email
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Problem
from tests.hostile import BODIES, READERS, TEXTS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", READERS)
def test_hostile_text_is_parsed_or_refused(name: str) -> None:
    failed = {}
    for label, text in TEXTS.items():
        try:
            READERS[name](text)
        except UnicodeError as error:  # a ValueError too, but of Python
            failed[label] = repr(error)[:200]
        except ValueError:
            continue
        except Exception as error:  # all failures are reported at once
            failed[label] = repr(error)[:200]
    assert failed == {}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("decode", [decode_email, decode_batch], ids=["email", "batch"])
def test_a_hostile_body_is_parsed_or_a_client_error(
    name: str, decode: Callable[[bytes], object]
) -> None:
    problem = problem_of(decode, BODIES[name])

    assert problem is None or problem.status in {400, 422}
    assert problem is None or len(problem.detail) < 1_000
    assert problem is None or all(len(fault.pointer) < 1_000 for fault in problem.faults)


def problem_of(decode: Callable[[bytes], object], body: bytes) -> Problem | None:
    try:
        decode_body(decode, body)
    except Problem as problem:
        return problem
    return None
