"""Tables with names that customers chose."""

import pytest

from cli.printing import console, print_table


def printed(name: str) -> str:
    with console.capture() as captured:
        print_table(("key", "name"), [("key_1", name)])
    return captured.get()


@pytest.mark.parametrize("name", ["[/x]", "[red]shop[/red]", "[link=https://evil.example]x[/link]"])
def test_a_key_whose_name_looks_like_markup_does_not_break_the_list(name: str) -> None:
    assert name in printed(name)


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2Jcleared", r"\x1b[2Jcleared"),
        ("two\nlines", r"two\nlines"),
        ("a\0b", r"a\x00b"),
        ("\u202eeman", r"\u202eeman"),
        ("Zoë 漢字 🩷", "Zoë 漢字 🩷"),
    ],
)
def test_control_characters_in_a_name_are_escaped(name: str, escaped: str) -> None:
    assert escaped in printed(name)
