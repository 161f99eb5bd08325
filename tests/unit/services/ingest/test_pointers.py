import msgspec
import pytest

from services.ingest.api.administration.directory import Name
from services.ingest.domain.email import decode_email
from services.ingest.domain.pointers import decode_body, problem_of
from services.ingest.domain.problem import Problem

BASE = '"from":"a@x.net","to":"b@y.net","subject":"s","text":"t"'


def test_garbage_after_a_wrong_header_is_a_client_error() -> None:
    deep = "[" * 100_000
    for rest in (deep, '"\ud800"', "{"):
        body = f'{{{BASE},"headers":{{"X-B":2}},"x":{rest}'
        with pytest.raises(Problem) as wrong:
            decode_body(decode_email, body.encode("utf-8", "surrogatepass"))
        assert wrong.value.status in {400, 422}


@pytest.mark.parametrize(
    ("body", "status", "name", "pointer"),
    [
        ("{", 400, "validation_error", ""),
        ("[]", 422, "validation_error", "#"),
        ('{"from":"a@x.net"}', 422, "missing_required_field", "#/to"),
        (f'{{{BASE},"schedule_at":"x"}}', 422, "validation_error", "#/schedule_at"),
        (f'{{{BASE},"cc":["x",1]}}', 422, "validation_error", "#/cc/1"),
        (f'{{{BASE},"tags":[{{"name":"ü"}}]}}', 422, "validation_error", "#/tags/0/name"),
        (f'{{{BASE},"tags":[{{}}]}}', 422, "missing_required_field", "#/tags/0/name"),
        (f'{{{BASE},"stream":"fast"}}', 422, "validation_error", "#/stream"),
        (f'{{{BASE},"headers":{{"X-A":"1","X-B":2}}}}', 422, "validation_error", "#/headers/X-B"),
        (f'{{{BASE},"metadata":{{"a":null}}}}', 422, "validation_error", "#/metadata/a"),
    ],
)
def test_an_error_in_the_body_has_a_json_pointer(
    body: str, status: int, name: str, pointer: str
) -> None:
    with pytest.raises(msgspec.DecodeError) as wrong:
        decode_email(body)

    problem = problem_of(wrong.value, body)

    assert (problem.status, problem.name) == (status, name)
    assert [fault.pointer for fault in problem.faults] == ([pointer] if pointer else [])


class Named(msgspec.Struct):
    name: Name


def test_a_refused_character_is_explained_in_words() -> None:
    with pytest.raises(Problem) as refused:
        decode_body(msgspec.json.Decoder(Named).decode, b'{"name": "a\\u0000b"}')
    assert refused.value.detail == "name: Use one line of text, without control characters"


def test_a_value_that_breaks_a_pattern_is_explained_in_words() -> None:
    body = b'{"from": "a@x.net", "to": "b@y.net", "subject": "s", "tags": [{"name": "a b"}]}'
    with pytest.raises(Problem) as refused:
        decode_body(decode_email, body)
    [fault] = refused.value.faults
    assert fault.pointer == "#/tags/0/name"
    assert fault.detail.startswith("tags.0.name: Use ASCII letters, digits")
