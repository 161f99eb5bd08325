"""The entries of a message that learning weighs: its words and places, as in the model's tables but
in a quarter of the buckets, which loses nothing with so few examples.

They lie side by side, words first. Packed they take two bytes each, of a message at most 5 KB.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from services.shield.domain.model.text import PLACE_BITS, WORD_BITS, HashedFeatures, distinct

DROPPED_BITS = np.uint32(2)  # the lower ones
WORDS = 1 << WORD_BITS - 2
SIZE = WORDS + (1 << PLACE_BITS - 2)
BLOCKS = -(-SIZE // (1 << 16))  # of entries with the same upper bits
COUNTS_BYTES = 2 * BLOCKS

Learned: TypeAlias = npt.NDArray[np.uint32]


class PackedEntriesError(ValueError):
    """These bytes are no packed entries."""


def learned_entries(entries: HashedFeatures) -> Learned:
    """Each once, in ascending order."""
    words, places = (
        distinct(entries.words >> DROPPED_BITS),
        distinct(entries.places >> DROPPED_BITS),
    )
    return np.concatenate([words, places + np.uint32(WORDS)])


def pack_entries(entries: HashedFeatures) -> bytes:
    return pack_learned(learned_entries(entries))


def pack_learned(found: Learned) -> bytes:
    counts = np.bincount(found >> np.uint32(16), minlength=BLOCKS).astype("<u2")
    return counts.tobytes() + found.astype("<u2").tobytes()


def unpack_entries(packed: bytes) -> Learned:
    """As `learned_entries`; none of no bytes. Raises PackedEntriesError."""
    if not packed:
        return np.zeros(0, np.uint32)
    if len(packed) < COUNTS_BYTES or len(packed) % 2:
        raise PackedEntriesError(f"{len(packed)} bytes")
    counts = np.frombuffer(packed, "<u2", BLOCKS).astype(np.int64)
    lower = np.frombuffer(packed, "<u2", offset=COUNTS_BYTES).astype(np.uint32)
    if counts.sum() != len(lower):
        raise PackedEntriesError(f"{counts.sum()} entries in {len(packed)} bytes")
    found = np.repeat(np.arange(BLOCKS, dtype=np.uint32) << np.uint32(16), counts) | lower
    if len(found) and found.max() >= SIZE:
        raise PackedEntriesError(f"{found.max()} is no entry")
    return found
