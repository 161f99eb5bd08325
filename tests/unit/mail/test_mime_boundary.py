"""Only `mail/` handles MIME, headers and DKIM; no other code uses modules for them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.syntax_trees import nodes

ROOT = Path(__file__).parents[3]
ROOMS = ("kernel", "services", "cli")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MODULES = {"email", "smtplib", "dkim", "quopri", "mimetypes", "mailbox", "imaplib"}
CALLS = {"b2a_qp", "a2b_qp", "encodebytes", "formataddr", "parseaddr", "make_msgid"}
# What only a maker of messages would write; a message/rfc822 in HTTP is none.
MIME = re.compile(
    r"mime-version|content-transfer-encoding|content-disposition: |quoted-printable|multipart/"
    r"|boundary=|=\?utf-8\?|dkim-signature|message-id: |list-unsubscribe|message/(?!rfc822)",
    re.IGNORECASE,
)


def offences(path: Path) -> Iterator[str]:
    modules = [node.module or "" for node in nodes(path, ast.ImportFrom)]
    names = [*modules, *(alias.name for alias in nodes(path, ast.alias))]
    yield from (name for name in names if name.partition(".")[0] in MODULES)
    yield from (node.attr for node in nodes(path, ast.Attribute) if node.attr in CALLS)
    yield from (node.id for node in nodes(path, ast.Name) if node.id in CALLS)
    docstrings = {id(node.value) for node in nodes(path, ast.Expr)}
    for node in nodes(path, ast.Constant):
        value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        if isinstance(value, str) and id(node) not in docstrings and MIME.search(value):
            yield repr(value)


def test_only_mail_handles_mime() -> None:
    found = {path: list(offences(path)) for path in SOURCES}
    assert len(found) > 200
    assert {str(path): names for path, names in found.items() if names} == {}


def test_the_check_finds_violations(tmp_path: Path) -> None:
    bad = 'import quopri\nfrom email import utils\nx = b"MIME-Version: 1.0"\ny = binascii.b2a_qp'
    (tmp_path / "bad.py").write_text(bad)
    assert len(list(offences(tmp_path / "bad.py"))) == 4
