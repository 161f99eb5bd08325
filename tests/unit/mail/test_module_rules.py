"""The rules of `mail/`: modules name their RFC, values are frozen, no outside dependencies."""

import ast
import dataclasses
import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

import mail

SOURCES = sorted(path for path in Path(mail.__path__[0]).glob("*.py") if path.stem != "__init__")
NAMES = [path.stem for path in SOURCES]
# A clock, chance, the outside world: by any of these names.
OUTSIDE = {
    "open", "print", "input", "exec", "eval", "now", "utcnow", "today", "time", "monotonic",
    "perf_counter", "uuid1", "uuid4", "token_bytes", "urandom", "getenv", "environ", "urlopen",
    "connect", "getaddrinfo", "gethostname", "write_text", "write_bytes", "read_bytes",
}  # fmt: skip
# Bytes in, replies or commands out; rules; SPF lookups; enumerations.
STATEFUL = {
    "ReplyParser", "SmtpInput", "ServerSession", "BounceClassifier", "_Evaluation", "InputMode",
    "TrackingMode", "ListHealth", "Records", "_Reader",
}  # fmt: skip
NOT_PURE = {"os", "io", "sys", "random", "secrets", "socket", "ssl", "time", "threading",
            "subprocess", "pathlib", "logging", "asyncio", "email", "smtplib", "dkim"}  # fmt: skip


def module(name: str) -> ModuleType:
    return importlib.import_module(f"mail.{name}")


@pytest.mark.parametrize("name", NAMES)
def test_every_module_names_its_rfc(name: str) -> None:
    assert re.search(r"RFC \d{3,4}", module(name).__doc__ or "")


@pytest.mark.parametrize("name", NAMES)
def test_every_value_is_frozen(name: str) -> None:
    for kind in vars(module(name)).values():
        if isinstance(kind, type) and kind.__module__ == f"mail.{name}":
            params = getattr(kind, "__dataclass_params__", None)
            assert params is None or params.frozen, kind
            plain = params is None and not issubclass(kind, Exception | str | tuple)
            assert not plain or kind.__name__ in STATEFUL, kind
            assert params is None or dataclasses.is_dataclass(kind)


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_mail_imports_no_io_clock_or_randomness(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not NOT_PURE & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in NOT_PURE
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            has_time = name == "time" and node.args  # a clock is asked without words
            assert name not in OUTSIDE or has_time, f"{name} in line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_every_public_function_has_a_docstring(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
