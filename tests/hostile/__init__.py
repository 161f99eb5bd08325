"""Hostile input: one corpus for all listeners and parsers.

`corpus/` has the inputs, a file per kind; `parsers/` has the parsers, a file per part of the
engine. New files in either are found automatically.
"""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType

from tests.hostile import corpus, parsers

Reader = Callable[[str], object]


def collect(package: ModuleType, name: str) -> dict[str, object]:
    """All entries of the dictionaries of this name in the modules of a package."""
    found: dict[str, object] = {}
    for one in sorted(pkgutil.iter_modules(package.__path__), key=lambda one: one.name):
        module = importlib.import_module(f"{package.__name__}.{one.name}")
        entries = {f"{one.name}.{k}": v for k, v in getattr(module, name, {}).items()}
        found.update(entries)
    return found


TEXTS: dict[str, str] = collect(corpus, "TEXTS")  # type: ignore[assignment]
BODIES: dict[str, bytes] = collect(corpus, "BODIES")  # type: ignore[assignment]
READERS: dict[str, Reader] = collect(parsers, "READERS")  # type: ignore[assignment]
