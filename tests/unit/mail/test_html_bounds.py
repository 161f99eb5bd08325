"""Pages whose tree is far larger or deeper than their text are read in bounded memory."""

import subprocess
import sys

import pytest

from mail import html

OPEN = "".join(f"<i a={number:x}>" for number in range(2000))
AFTER = "<p>x</p>" * 4000
FEW, ENDS, MANY = OPEN[:4500], "</i>" * 500, "<p>x</p>" * 11_000
HOSTILE = {
    "left open": f"<p>{OPEN}</p>{AFTER}",
    "closed by others' end tags": f"<p>{OPEN.replace('>', '></b>')}</p>{AFTER}",
    "closed where that means nothing": f"{OPEN}<table><td>{'</i>' * 2000}</td></table>{AFTER}",
    "closed in a button": f"{OPEN}<button>{'</i>' * 2000}</button>{AFTER}",
    "in capitals": f"<P>{OPEN.upper()}</P>{AFTER}",
    "closed in a comment": f"<p>{FEW}</p><!--{ENDS}-->{MANY}",
    "closed in an attribute": f"<p>{FEW}</p><p title='{ENDS}'>{MANY}",
    "closed in a field": f"<p>{FEW}</p><textarea>{ENDS}</textarea>{MANY}",
    "links left open": "<p>" + OPEN.replace("<i ", "<a ") + "</p>" + AFTER,
    "links across blocks": "<a href=x><div>" * 500 + "</a>" * 9000,
    "deep": "<div></b>" * 11_000,
    "deeper": "<div>" * 100_000,
}
MEMORY = 512 << 20
PEAK_MAX_KIB = 200 << 10  # the parser ends quietly where it gets no more memory: so look


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_with_a_huge_tree_is_read_in_bounded_memory(name: str) -> None:
    code = (
        "import resource, sys\n"
        "from mail import html\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        "html.read_html(sys.stdin.read())\n"
        # Of this program alone: ru_maxrss has the parent's in it, from before the exec.
        "[peak] = [line for line in open('/proc/self/status') if line.startswith('VmHWM:')]\n"
        "print(peak.split()[1])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, input=HOSTILE[name], text=True, stdout=subprocess.PIPE, check=False
    )

    assert done.returncode == 0
    assert int(done.stdout) < PEAK_MAX_KIB


def test_an_ordinary_page_is_read_completely() -> None:
    row = "<tr><td><b>Sum</b> <a href='https://example.com/'><i>see</i></a></td></tr>"
    page = html.read_html(f"<table>{row * 800}</table><p>The end</p>")

    assert page.text.endswith("The end")
    assert len(page.links) == 800


def test_malformed_markup_is_read_completely() -> None:
    page = html.read_html("<p><b>never closed</p>" + "<p>x</p>" * 900 + "<p>The end</p>")

    assert page.text.endswith("The end")
