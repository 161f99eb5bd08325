import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import encoded_words, parser


@pytest.mark.parametrize(
    ("value", "key", "expected"),
    [
        ("a/b; name=x", "name", "x"),
        ('a/b; name="x; \\"y\\""', "name", 'x; "y"'),
        ("a/b; NAME*=utf-8''%C3%BC.txt", "name", "ü.txt"),
        ("a/b; name*0*=utf-8''%C3; name*1*=%BC; name*2=\".txt\"", "name", "ü.txt"),
        ("a/b; name*1=b; name*0=a", "name", "ab"),
        ("a/b; name*=nonsense''%FF", "name", "ÿ"),
    ],
)
def test_parameters_are_read_as_rfc_2231_writes_them(value: str, key: str, expected: str) -> None:
    kind, given_ = parser.parse_parameters(value)
    assert kind == "a/b"
    assert given_[key] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=?utf-8?q?J=C3=BCrgen?= M", "Jürgen M"),
        ("=?utf-8?b?SsO8?= =?utf-8?b?cmdlbg==?=", "Jürgen"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),
        ("=?utf-8*de?q?a_b?=", "a b"),
        ("=?nonsense?q?a?=", "=?nonsense?q?a?="),
        ("=?utf-8?q?a=0D=0ABcc:_x?=", "a Bcc: x"),
        ("plain", "plain"),
    ],
)
def test_encoded_words_are_decoded_without_line_breaks(text: str, expected: str) -> None:
    assert " ".join(encoded_words.decode(text).split()) == expected


@given(st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1, max_size=200))
def test_encoded_words_round_trip(text: str) -> None:
    coded = encoded_words.encode(text)
    assert all(len(word) <= 75 for word in coded)
    assert encoded_words.decode("\r\n ".join(coded).replace("\r\n", "")) == text


@given(st.binary(max_size=400), st.binary(max_size=12))
def test_any_message_can_be_walked(raw: bytes, boundary: bytes) -> None:
    head = b"Content-Type: multipart/mixed; boundary=" + boundary + b"\n\n"
    for part in parser.walk(parser.parse_entity(head + raw + b"\n--" + boundary + b"\n" + raw)):
        part.text()
        assert isinstance(part.filename, str)
    parser.parse_entity(raw)


def test_a_part_ends_before_the_line_end_of_its_delimiter() -> None:
    raw = (
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\npre\r\n--x\r\n\r\none\r\n'
        b"--x\r\nA: b\r\n\r\ntwo\r\n\r\n--x--\r\npost"
    )
    assert [p.body for p in parser.parts(parser.parse_entity(raw))] == [b"one", b"two\r\n"]


def test_unlabelled_japanese_is_decoded() -> None:
    assert parser.decode_text("日本".encode("iso-2022-jp"), "") == "日本"
