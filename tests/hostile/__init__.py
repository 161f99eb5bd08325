"""Hostile input: one corpus that every door and every parser meets.

`corpus/` is what strangers send, a file per kind; `parsers/` is what reads it, a file per part of
the engine. A new file in either is found by itself.
"""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType

from tests.hostile import corpus, parsers

Reader = Callable[[str], object]


def gathered(package: ModuleType, name: str) -> dict[str, object]:
    """All entries of the dictionaries of this name in the modules of a package."""
    found: dict[str, object] = {}
    for one in sorted(pkgutil.iter_modules(package.__path__), key=lambda one: one.name):
        module = importlib.import_module(f"{package.__name__}.{one.name}")
        entries = {f"{one.name}.{k}": v for k, v in getattr(module, name, {}).items()}
        found.update(entries)
    return found


TEXTS: dict[str, str] = gathered(corpus, "TEXTS")  # type: ignore[assignment]
BODIES: dict[str, bytes] = gathered(corpus, "BODIES")  # type: ignore[assignment]
READERS: dict[str, Reader] = gathered(parsers, "READERS")  # type: ignore[assignment]
