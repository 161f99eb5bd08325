"""The model file: a digest, then arrays in NumPy's .npz format (which is read without pickle)."""

from collections.abc import Mapping
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np

from services.shield.domain.model.margin import SIZES, TrainedModel, number_names
from services.shield.domain.model.trees import BoostedTrees

MAGIC = b"shield model 1\n"
DIGEST_BYTES = 32
TABLES = ("words", "characters", "places")
TREE_ARRAYS = ("number", "threshold", "first_child", "value")
VERSION_CHARS = 8  # of the digest, in the version


class ModelError(ValueError):
    """The file is no model, or no model for this code."""


def pack_model(model: TrainedModel, more: Mapping[str, Any] | None = None) -> bytes:
    """The same bytes for the same model. Its version is the name before the digest. more: arrays
    that the model does not need."""
    arrays: dict[str, Any] = {
        **dict(zip(TABLES, model.tables, strict=True)),
        **{name: getattr(model.trees, name) for name in TREE_ARRAYS},
        "scales": np.array(model.scales),
        "margins": np.array([model.bias, model.hold, model.block]),
        "usual": model.usual,
        "name": np.array(model.version),
        "numbers": np.array(model.numbers),
        "rules": np.array(model.rules),
        **(more or {}),
    }
    packed = BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    body = packed.getvalue()
    return MAGIC + sha256(body).digest() + body


def load_model(packed: bytes) -> TrainedModel:
    """Raises ModelError."""
    found = read_arrays(packed)
    digest = packed[len(MAGIC) : len(MAGIC) + DIGEST_BYTES].hex()
    model = to_model(found, digest[:VERSION_CHARS])
    if model.numbers != number_names() or tuple(map(len, model.tables)) != SIZES:
        raise ModelError("made for another version of this code; train it again")
    return model


def read_arrays(packed: bytes) -> dict[str, Any]:
    """The arrays of a model file by name. Raises ModelError."""
    start = len(MAGIC) + DIGEST_BYTES
    if not packed.startswith(MAGIC):
        raise ModelError("not a model file")
    body = packed[start:]
    if sha256(body).digest() != packed[len(MAGIC) : start]:
        raise ModelError("the digest does not match: the file is damaged")
    with np.load(BytesIO(body), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def to_model(found: dict[str, Any], digest: str) -> TrainedModel:
    bias, hold, block = map(float, found["margins"])
    trees = BoostedTrees(**{name: found[name] for name in TREE_ARRAYS})
    return TrainedModel(
        version=f"{found['name']}-{digest}",
        tables=tuple(found[name] for name in TABLES),
        scales=tuple(map(float, found["scales"])),
        bias=bias,
        trees=trees,
        numbers=tuple(map(str, found["numbers"])),
        rules=tuple(map(str, found["rules"])),
        usual=found["usual"],
        hold=hold,
        block=block,
        lookers=trees.lookers(len(found["usual"]) + 1),
    )
