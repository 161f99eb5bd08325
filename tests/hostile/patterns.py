"""All regular expressions of the project, with texts that make bad ones slow."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import kernel
import mail
import services

# Python has no public parser for its patterns.
ops: Any = importlib.import_module("re._constants")
_parser: Any = importlib.import_module("re._parser")
ROOT = Path(__file__).parents[2]
MANY = 20  # fewer repetitions cannot take long
METHODS = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer")
CALL_OF_RE = re.compile(rf"\bre\s*\.\s*({'|'.join(METHODS)})\b")
CHARS = "a1 .@-_<>\"'\\/=:;,?!()[]{}\r\n\t%&#$*+^`|~Zz0\u00e9\u0378\u2028\x00"
REPEATS = (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT)


class PatternUse(NamedTuple):
    """A pattern and the method that applies it."""

    name: str
    pattern: "re.Pattern[Any]"
    method: str

    def apply(self, text: str) -> None:
        """Apply the pattern to the whole text."""
        subject: Any = text
        if isinstance(self.pattern.pattern, bytes):
            subject = text.encode("latin-1", "replace")
        if self.method in {"match", "fullmatch", "search"}:
            getattr(self.pattern, self.method)(subject)
        else:
            for _ in self.pattern.finditer(subject):
                pass


@cache
def modules() -> list[ModuleType]:
    names = [
        found.name
        for package in (kernel, mail, services)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not found.name.endswith("__main__") and ".versions." not in found.name
    ]
    return [importlib.import_module(name) for name in names]


@cache
def uses() -> dict[str, PatternUse]:
    found = [
        use for module in modules() for use in (*module_patterns(module), *inline_patterns(module))
    ]
    return {f"{use.name}.{use.method}": use for use in found}


def module_patterns(module: ModuleType) -> Iterator[PatternUse]:
    """Patterns that are module variables."""
    for name, value in vars(module).items():
        found = list(patterns_of(value))
        if not found or imported(module, name):
            continue
        for pattern, bound in found:
            for method in bound or called_methods().get(name) or METHODS[:1]:
                yield PatternUse(f"{module.__name__}.{name}", pattern, method)


def patterns_of(value: object) -> Iterator[tuple["re.Pattern[Any]", list[str]]]:
    """The patterns of a value, with the method if the value is a bound method."""
    if isinstance(value, re.Pattern):
        yield value, []
    elif isinstance(owner := getattr(value, "__self__", None), re.Pattern):
        yield owner, [str(getattr(value, "__name__", ""))]
    elif isinstance(value, dict):
        yield from patterns_of(list(value.values()))
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from patterns_of(each)


@cache
def sources() -> dict[str, str]:
    found = (
        path for part in ("kernel", "mail", "services") for path in (ROOT / part).rglob("*.py")
    )
    return {str(path.relative_to(ROOT)): path.read_text() for path in found}


def source_of(module: ModuleType) -> str:
    return sources()[str(Path(module.__file__ or "").relative_to(ROOT))]


def imported(module: ModuleType, name: str) -> bool:
    return re.search(rf"^{name}(?:: .*)? = ", source_of(module), re.MULTILINE) is None


@cache
def called_methods() -> dict[str, list[str]]:
    """The methods that are called on each name, in any module."""
    call = re.compile(rf"\b(\w+)(?:\[\w+\])?\.({'|'.join(METHODS)})\(")
    found: dict[str, list[str]] = {}
    for name, method in sorted(
        {pair for text in sources().values() for pair in call.findall(text)}
    ):
        found.setdefault(name, []).append(method)
    return found


def inline_patterns(module: ModuleType) -> Iterator[PatternUse]:
    """Patterns written in calls: `re.sub(r"…", …)`."""
    for call in calls_of_re(module):
        text, method = call.args[0], getattr(call.func, "attr", "")
        if isinstance(text, ast.Constant) and method in METHODS:
            name = f"{module.__name__}:{call.lineno}"
            yield PatternUse(name, re.compile(text.value), method)


def calls_of_re(module: ModuleType) -> Iterator[ast.Call]:
    if not CALL_OF_RE.search(source_of(module)):
        return  # to parse all modules takes seconds
    for node in ast.walk(ast.parse(source_of(module))):
        called_methods = node.func if isinstance(node, ast.Call) else None
        if isinstance(node, ast.Call) and isinstance(called_methods, ast.Attribute):
            of = getattr(called_methods.value, "id", "")
            yield from [node] * (of == "re" and called_methods.attr in METHODS)


def attacks(pattern: "re.Pattern[Any]") -> Iterator[Callable[[int], str]]:
    """Functions that make attack texts of a given length: the prefix of a repetition of the
    pattern, many repetitions, then text that does not match."""
    text = pattern.pattern
    tree = _parser.parse(text.decode("latin-1") if isinstance(text, bytes) else text, pattern.flags)
    found = {*combinations(repeats(tree, "")), *((piece, piece) for piece in pieces(tree))}
    for before, piece in sorted(found):
        yield partial(repeated, before, piece)
        yield partial(repeated, "", before + piece)


def repeated(before: str, piece: str, length: int) -> str:
    return before + piece * (length // len(piece)) + "\x00"


def combinations(found: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Each item alone, and all pairs."""
    known = sorted(set(found))
    yield from known
    for (before, one), (_, other) in product(known[:12], repeat=2):
        yield before, one + other


def repeats(tree: Any, before: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - re's own
    """The prefix of each repetition, and the texts that it repeats, with all alternatives."""
    for op, value in tree:
        if op in REPEATS:
            _, most, body = value
            if most > MANY:
                yield from ((before, piece) for piece in pieces(body))
        for inner in inside(op, value):
            yield from repeats(inner, before)
        before += sample([(op, value)])


def inside(op: Any, value: Any) -> list[Any]:  # noqa: ANN401
    if op in REPEATS:
        return [value[2]]
    if op is ops.SUBPATTERN:
        return [value[3]]
    if op is ops.BRANCH:
        return list(value[1])
    if op in {ops.ASSERT, ops.ASSERT_NOT}:
        return [value[1]]
    return [value] if op is ops.ATOMIC_GROUP else []


def pieces(tree: Any) -> set[str]:  # noqa: ANN401
    """Texts that match: each alternative, the first and last character of each class."""
    found = {sample(tree, last=last) for last in (False, True)}
    for op, value in tree:
        if op is ops.BRANCH:
            found |= {sample(each) for each in value[1]}
        if op is ops.SUBPATTERN:
            found |= pieces(value[3])
    return found - {""}


def sample(tree: Any, *, last: bool = False) -> str:  # noqa: ANN401
    return "".join(sample_of(op, value, last=last) for op, value in tree)


def sample_of(op: Any, value: Any, *, last: bool) -> str:  # noqa: ANN401
    if op is ops.LITERAL:
        return chr(int(value))
    if op in {ops.IN, ops.NOT_LITERAL, ops.ANY}:
        fitting = [char for char in CHARS if fits(op, value, char)]
        return fitting[-1 if last else 0] if fitting else first_of(value)
    if op in REPEATS:
        return sample(value[2], last=last) * max(1, min(int(value[0]), MANY))
    if op in {ops.ASSERT, ops.ASSERT_NOT}:
        return ""
    return "".join([sample(inner, last=last) for inner in inside(op, value)[:1]])


def fits(op: Any, value: Any, char: str) -> bool:  # noqa: ANN401
    if op is not ops.IN:
        return char != "\n" if op is ops.ANY else ord(char) != int(value)
    negated = bool(value[0][0] is ops.NEGATE)
    return negated != any(is_in(each, of, char) for each, of in value)


def is_in(op: Any, value: Any, char: str) -> bool:  # noqa: ANN401
    if op is ops.LITERAL:
        return ord(char) == int(value)
    if op is ops.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    return op is ops.CATEGORY and re.match(CATEGORIES[str(value)], char) is not None


CATEGORIES = {
    "CATEGORY_DIGIT": r"\d", "CATEGORY_NOT_DIGIT": r"\D", "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_WORD": r"\w", "CATEGORY_NOT_WORD": r"\W",
}  # fmt: skip


def first_of(members: Any) -> str:  # noqa: ANN401
    """For a class without any usual character."""
    for op, value in members:
        if op is ops.LITERAL:
            return chr(value)
        if op is ops.RANGE:
            return chr(value[0])
    return ""
