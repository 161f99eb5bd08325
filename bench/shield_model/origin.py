"""What a model was trained on, in its file: whoever changes that has to train again.

Digests of the labelled mail, of the made mail, and of what the model sees of some of it in all
forms; and the settings of the trainer.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bench.shield_model import boosting, canaries, examples, linear, training, vectors
from bench.shield_model.examples import KINDS, Example, modern_copies, old_copies
from bench.shield_model.made import made_mail
from services.shield.domain.model.file import read_arrays
from services.shield.domain.rulebook import Rulebook

ORIGIN = "origin"
DIGEST_CHARS = 16
SEEN = 90  # made messages, each in all its forms
LIBRARIES = ("lightgbm", "numpy", "scipy")

Origin = dict[str, Any]


def origin_of(folder: Path, book: Rulebook, *, made: int, seed: int) -> Origin:
    """folder: of the packs."""
    return {
        **origin_without_packs(book, made=made, seed=seed),
        "packs": digest_of_packs(folder),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def origin_without_packs(book: Rulebook, *, made: int, seed: int) -> Origin:
    return {
        "seed": seed,
        "made": made,
        "made_digest": digest_of_made(made, seed),
        "seen_digest": digest_of_seen(book),
        "settings": settings(),
    }


def digest_of_packs(folder: Path) -> dict[str, str]:
    """Of each pack that is trained on, the digest of its file."""
    paths = [folder / f"{name}.jsonl.zst" for name in sorted(KINDS)]
    return {path.name: digest(path.read_bytes()) for path in paths if path.exists()}


def digest_of_made(made: int, seed: int) -> str:
    found = sha256()
    for kind, bad, content in made_mail(made, seed):
        found.update(f"{kind} {bad} ".encode())
        found.update(content.SerializeToString(deterministic=True))
    return found.hexdigest()[:DIGEST_CHARS]


def digest_of_seen(book: Rulebook) -> str:
    """Changes with the generator of copies, the rules, and whatever the model reads."""
    data = vectors.vectors_of(forms_of_made(), book)
    parts = data.text.indices, data.text.indptr, data.numbers, data.bad
    return digest(b"".join(np.ascontiguousarray(each).tobytes() for each in parts))


def forms_of_made() -> Iterator[Example]:
    for number, (kind, bad, content) in enumerate(made_mail(SEEN, 1)):
        for copies in (old_copies, modern_copies):
            for each in (content, *copies(content, bad, Random(number))):
                yield Example(kind, kind, bad, 1.0, each)


def settings() -> dict[str, Any]:
    """Of the trainer: its constants."""
    modules = (boosting, canaries, examples, linear, training, vectors)
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": value
        for module in modules
        for name, value in sorted(vars(module).items())
        if name.isupper() and isinstance(value, int | float | str | dict | tuple)
    }


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:DIGEST_CHARS]


def origin_array(origin: Origin) -> dict[str, Any]:
    """For the model file."""
    return {ORIGIN: np.array(json.dumps(origin, sort_keys=True))}


def read_origin(packed: bytes) -> Origin:
    """packed: a model file. Empty if it says nothing. Raises ModelError."""
    found: Origin = json.loads(str(read_arrays(packed).get(ORIGIN, "{}")))
    return found
