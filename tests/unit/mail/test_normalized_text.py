import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.normalized_text import normalize, normalize_and_lower


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  a\n\tb\xa0 c ", "a b c"),
        ("via\u200bgra, via\xadgra", "viagra, viagra"),
        ("ｖｉａｇｒａ 𝗳𝗿𝗲𝗲 ﬁne", "viagra free fine"),  # noqa: RUF001
        ("Größe Привет", "Größe Привет"),
    ],
)
def test_text_is_normalized_as_a_reader_perceives_it(text: str, expected: str) -> None:
    assert normalize(text) == expected


@given(st.text() | st.text(alphabet="aA \n\t\x1c\xa0\u200b\u3000éÉ\u03a3\u03c3€ﬁe\u0301İ"))
def test_the_fast_and_slow_paths_normalize_equally(text: str) -> None:
    assert normalize_and_lower(text) == (normalize(text), normalize(text).lower().encode())


@given(st.text(alphabet=st.characters(max_codepoint=0x312F, exclude_categories=["Cs"]), max_size=9))
def test_visible_text_is_in_its_normal_form(text: str) -> None:
    line = " ".join(text.split())
    for each in "\xad\u200b\u200c\u200d\u2060\ufeff\u034f\u180e":
        line = line.replace(each, "")
    assert normalize(text) == unicodedata.normalize("NFKC", line)


@pytest.mark.parametrize("text", ["e\u0301 ㄺ…", "ΣΑΣ ÉCOLE", "½ ™ Å ﬁ…", "İ각 \u0300"])
def test_letters_that_compose_or_whose_case_depends_on_their_place(text: str) -> None:
    found = normalize_and_lower(text)
    assert found == (unicodedata.normalize("NFKC", text), found[0].lower().encode())
