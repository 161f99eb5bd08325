"""Only `mail/` handles MIME, headers and DKIM; no other code uses modules for them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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


def offences(tree: ast.AST) -> Iterator[str]:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            names = [module or "", *(alias.name for alias in node.names)]
            yield from (name for name in names if name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            yield from {name} & CALLS
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            value = node.value
            value = value.decode("latin-1") if isinstance(value, bytes) else value
            if isinstance(value, str) and MIME.search(value):
                yield repr(value)


def test_only_mail_handles_mime() -> None:
    found = {path: list(offences(ast.parse(path.read_text()))) for path in SOURCES}
    assert len(found) > 200
    assert {str(path): names for path, names in found.items() if names} == {}


def test_the_check_finds_violations() -> None:
    bad = 'import quopri\nfrom email import utils\nx = b"MIME-Version: 1.0"\ny = binascii.b2a_qp'
    assert len(list(offences(ast.parse(bad)))) == 4
