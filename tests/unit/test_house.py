"""Rules for the code that no linter checks: sizes, names, and nothing left for later."""

import ast
import gc
import re
import statistics
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from tests.support.syntax_trees import nodes

ROOT = Path(__file__).parents[2]
ROOMS = ("kernel", "mail", "services", "cli")  # what is published
ALL = (*ROOMS, "bench", "tests")
LINES_MAX, FUNCTION_MAX, FUNCTION_MEDIAN_MAX = 300, 40, 8
FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|managers?)$")
LEFT_FOR_LATER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")


# What nobody uses who leaves MIME, headers and DKIM to `mail`.
MAIL_MODULES = {"email", "smtplib", "dkim", "quopri", "mimetypes", "mailbox", "imaplib"}
MAIL_CALLS = {"b2a_qp", "a2b_qp", "encodebytes", "formataddr", "parseaddr", "make_msgid"}
# What only a maker or reader of messages would write; a message/rfc822 in HTTP is none.
MIME_BY_HAND = re.compile(
    r"mime-version|content-transfer-encoding|content-disposition: |quoted-printable|multipart/"
    r"|boundary=|=\?utf-8|dkim-signature|message-id: |list-unsubscribe|message/(?!rfc822)",
    re.IGNORECASE,
)


@pytest.fixture(autouse=True, scope="module")
def _without_collector() -> Iterator[None]:
    """The garbage collector would walk all syntax trees, which stay, again and again."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def sources(*rooms: str) -> list[Path]:
    return [path for room in sorted(rooms) for path in sources_of_room(room)]


@cache
def sources_of_room(room: str) -> Sequence[Path]:
    found = (ROOT / room).rglob("*.py")
    return sorted(path for path in found if "node_modules" not in path.parts)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of every function, docstring and decorators not counted."""
    found: list[ast.FunctionDef | ast.AsyncFunctionDef]
    found = [*nodes(path, ast.FunctionDef), *nodes(path, ast.AsyncFunctionDef)]
    for node in found:
        first = node.body[1 if ast.get_docstring(node) and len(node.body) > 1 else 0]
        header = node.body[0].lineno - node.lineno
        yield node.name, header + (node.end_lineno or 0) - first.lineno + 1


def test_files_are_of_a_readable_size() -> None:
    assert [fault for path in sources(*ALL) for fault in faults(path)] == []


def faults(path: Path) -> Iterator[str]:
    """What makes a file hard to read."""
    name, text = path.relative_to(ROOT), path.read_text()
    if (lines := sum(bool(line.strip()) for line in text.splitlines())) > LINES_MAX:
        yield f"{name}: {lines} lines"
    if path.parent.name != "versions":  # a migration is SQL
        long = ((function, size) for function, size in functions(path) if size > FUNCTION_MAX)
        yield from (f"{name}: {function} has {size} lines" for function, size in long)
    if FORBIDDEN_NAMES.search(path.stem):
        yield f"{name}: the name says nothing"
    if LEFT_FOR_LATER.search(text):
        yield f"{name}: something is left for later"


def test_a_file_that_is_hard_to_read_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    long = "def long() -> None:\n" + "    print()\n" * LINES_MAX
    (tmp_path / "utils.py").write_text("# TO" + "DO\n" + long)
    assert len(list(faults(tmp_path / "utils.py"))) == 4


def test_patterns_repeat_no_group_possessively() -> None:
    """Early releases of Python 3.11 loop forever on it: `mail.patterns` has what does the same."""
    found = re.compile(r"\)(?:[*+?]|\{\d*,?\d*\})\+")
    constants = (str(node.value) for path in sources(*ALL) for node in nodes(path, ast.Constant))
    assert [text for text in constants if found.search(text) and "`" not in text] == []


def test_functions_are_small_on_the_whole() -> None:
    sizes = [size for path in sources(*ROOMS) for _, size in functions(path)]
    assert statistics.median(sizes) <= FUNCTION_MEDIAN_MAX


def test_only_mail_handles_mime() -> None:
    found = {path: list(mail_code(path)) for path in sources("kernel", "services", "cli")}
    assert len(found) > 200
    assert {str(path): names for path, names in found.items() if names} == {}


def test_code_that_handles_mime_is_found(tmp_path: Path) -> None:
    bad = 'import quopri\nfrom email import utils\nx = b"MIME-Version: 1.0"\ny = binascii.b2a_qp'
    (tmp_path / "bad.py").write_text(bad)
    assert len(list(mail_code(tmp_path / "bad.py"))) == 4


def mail_code(path: Path) -> Iterator[str]:
    """Modules, functions and texts in a file's code that are `mail`'s; what it says of itself is
    none."""
    modules = [node.module or "" for node in nodes(path, ast.ImportFrom)]
    names = [*modules, *(alias.name for alias in nodes(path, ast.alias))]
    yield from (name for name in names if name.partition(".")[0] in MAIL_MODULES)
    yield from (node.attr for node in nodes(path, ast.Attribute) if node.attr in MAIL_CALLS)
    yield from (node.id for node in nodes(path, ast.Name) if node.id in MAIL_CALLS)
    docstrings = {id(node.value) for node in nodes(path, ast.Expr)}
    for node in nodes(path, ast.Constant):
        value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
        if isinstance(value, str) and id(node) not in docstrings and MIME_BY_HAND.search(value):
            yield repr(value)


def test_names_avoid_the_words_that_the_glossary_rules_out() -> None:
    ruled_out = words_ruled_out()
    assert len(ruled_out) > 20
    names = ((path, name) for path in sources(*ALL) for name in defined(path))
    found = [f"{path.relative_to(ROOT)}: {name}" for path, name in names if ruled_out & words(name)]
    assert set(found) <= {"tests/unit/test_house.py: test_house"}


def words_ruled_out() -> set[str]:
    table = (ROOT / "docs/glossary.md").read_text().rpartition("| --- | --- |")[2]
    return {
        word for row in re.findall(r"^\| ([a-z, ]+) \|", table, re.M) for word in row.split(", ")
    }


def defined(path: Path) -> Iterator[str]:
    """The names that a module defines, and its own."""
    yield path.stem
    yield from (node.name for node in nodes(path, ast.ClassDef))
    yield from (name for name, _ in functions(path))
    yield from (node.arg for node in nodes(path, ast.arg))
    yield from (node.id for node in nodes(path, ast.Name) if isinstance(node.ctx, ast.Store))
    fields = nodes(path, ast.Attribute)
    yield from (node.attr for node in fields if isinstance(node.ctx, ast.Store))


def test_what_implements_a_grpc_service_is_a_servicer() -> None:
    """As in gRPC: a Service is a process here, and a contract of protobuf."""
    classes = (node for path in sources("services") for node in nodes(path, ast.ClassDef))
    servicers = [one.name for one in classes if any(map(is_servicer, one.bases))]
    assert len(servicers) > 10
    assert [name for name in servicers if not name.endswith("Servicer")] == []


def is_servicer(base: ast.expr) -> bool:
    return isinstance(base, ast.Name) and base.id.endswith("ServiceServicer")


@cache
def words(name: str) -> set[str]:
    """In lower case: of `SendEmail`, `send_email` and `SEND_EMAIL` the same."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_the_repository_speaks_of_itself_alone() -> None:
    """No addresses of package registries in the locks: machines are told by their own settings."""
    locks = [*(ROOT / "requirements").glob("*.txt"), ROOT / "kernel/embedded/kafka.lock.toml"]
    locks += [path for room in ALL for path in (ROOT / room).rglob("package-lock.json")]
    locks = [path for path in locks if "node_modules" not in path.parts]
    for lock in locks:
        assert not re.search(r'https?://|"resolved"|--(extra-)?index-url|--find-links', read(lock))


def read(path: Path) -> str:
    """Without what a package itself says, such as where its authors take donations."""
    return re.sub(r'"funding": \{.*?\}|"url": "[^"]*"', "", path.read_text(), flags=re.DOTALL)
