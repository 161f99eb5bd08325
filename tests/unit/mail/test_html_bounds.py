"""Pages whose tree is far larger, or deeper, than their text: what is read of them is bounded."""

import subprocess
import sys

import pytest

from mail import html

OPEN = "".join(f"<i a={number:x}>" for number in range(2000))
AFTER = "<p>x</p>" * 4000
HOSTILE = {
    "left open": f"<p>{OPEN}</p>{AFTER}",
    "closed by others' end tags": f"<p>{OPEN.replace('>', '></b>')}</p>{AFTER}",
    "closed where that means nothing": f"{OPEN}<table><td>{'</i>' * 2000}</td></table>{AFTER}",
    "closed in a button": f"{OPEN}<button>{'</i>' * 2000}</button>{AFTER}",
    "in capitals": f"<P>{OPEN.upper()}</P>{AFTER}",
    "deep": "<div></b>" * 11_000,
    "deeper": "<div>" * 100_000,
}
MEMORY = 512 << 20


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_that_grows_is_read_in_bounded_memory(name: str) -> None:
    code = (
        "import resource, sys\n"
        "from mail import html\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "html.read(sys.stdin.read())\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=HOSTILE[name], text=True, check=False)

    assert done.returncode == 0


def test_an_honest_page_is_read_to_its_end() -> None:
    row = "<tr><td><b>Sum</b> <a href='https://example.com/'><i>see</i></a></td></tr>"
    page = html.read(f"<table>{row * 800}</table><p>The end</p>")

    assert page.text.endswith("The end")
    assert len(page.links) == 800


def test_sloppy_markup_is_read_to_its_end() -> None:
    page = html.read("<p><b>never closed</p>" + "<p>x</p>" * 900 + "<p>The end</p>")

    assert page.text.endswith("The end")
