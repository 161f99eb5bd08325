"""Which mail of the test splits goes into the model file, so that learning cannot make it worse."""

from pathlib import Path
from zlib import crc32

import numpy as np

from bench.shield_corpus import Sample, samples
from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.learning.canaries import CanaryMessages
from services.shield.domain.learning.entries import Learned, learned_entries
from services.shield.domain.model.margin import TrainedModel
from services.shield.domain.rulebook import Rulebook
from services.shield.domain.scoring import Scorer

PACKS = frozenset({"enron_raw", "spamassassin", "nazario", "modern_newsletters", "templates_ham"})
ONE_OF = 10  # messages of the test splits


def choose_canaries(folder: Path, model: TrainedModel, book: Rulebook) -> CanaryMessages | None:
    """None without test splits of both classes."""
    scorer = Scorer(book, model)
    chosen = sorted(
        (sample.id, sample.bad, *weighed(scorer, sample.content))
        for sample in samples(folder)
        if is_canary(sample)
    )
    bad = np.array([row[1] for row in chosen], bool)
    if len(set(bad.tolist())) != 2:
        return None
    return CanaryMessages([row[3] for row in chosen], np.array([row[2] for row in chosen]), bad)


def is_canary(sample: Sample) -> bool:
    chosen = sample.split == "test" and sample.file in PACKS
    return chosen and crc32(sample.id.encode()) % ONE_OF == 0


def weighed(scorer: Scorer, content: Content) -> tuple[float, Learned]:
    [found] = scorer.weigh([scorer.read(content)])
    return found.margin, learned_entries(found.entries)
