"""What the model is trained on: labelled mail in several forms, and mail made by a grammar.

Copies of a message keep its group, so that none of them is scored by weights that saw another.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from zlib import crc32

from bench.shield_corpus import EVALUATION_ONLY, Sample, samples
from bench.shield_model.copies import in_shell, moved, page_only, relinked, without_fields
from bench.shield_model.made import made_mail
from bench.shield_model.names import new_domain, new_person
from contracts.ingest.v1.content_pb2 import Content
from mail.address import domain_of

# Corpora of one kind and age: the cut points are taken from good mail of kinds left out.
KINDS = {
    "enron_raw": "enron",
    "spamassassin": "spamassassin",
    "modern_newsletters": "assembled",
    "templates_ham": "assembled",
    "modern_inbox": "inbox",
    "nazario": "nazario",
    "phish_templates": "assembled",
}
WEIGHTS = {
    "nazario": 2.0, "phish_templates": 2.0, "modern_newsletters": 3.0, "templates_ham": 4.0,
    "modern_inbox": 3.0,
}  # fmt: skip
MODERN = frozenset({"modern_newsletters", "templates_ham", "modern_inbox"})
REDACTED = frozenset({"mailer-example.net"})  # instead of a sender; it would give a class away
OLD_SPAM_SHELLS, OLD_GOOD_SHELLS = 1 / 3, 1 / 5
GOOD_ENRON = 1 / 2
NAME_ADDED, NAME_LEFT_OUT = 0.85, 0.1
COPY_WEIGHT, MADE_WEIGHT = 0.5, 0.5


@dataclass(frozen=True, slots=True)
class Example:
    """kind: as in KINDS, or `made`. copy: not as it was sent."""

    group: str
    kind: str
    bad: bool
    weight: float
    content: Content
    copy: bool = False


def training_examples(folder: Path, *, made: int, seed: int) -> Iterator[Example]:
    """Everything to train on: the training split of the packs with its copies, then made mail."""
    for sample in samples(folder, but=EVALUATION_ONLY):
        if sample.split == "train" and sample.file in KINDS:
            yield from forms(sample, Random(crc32(f"{seed}/{sample.id}".encode())))
    for kind, bad, content in made_mail(made, seed):
        yield Example(kind, "made", bad, MADE_WEIGHT, content)


def forms(sample: Sample, random: Random) -> Iterator[Example]:
    """A message, and copies of it as others would have sent it."""
    if sample.file == "enron_raw" and not sample.bad and random.random() >= GOOD_ENRON:
        return
    content = with_sender(sample.content, random)
    first = Example(
        group_of(sample), KINDS[sample.file], sample.bad, WEIGHTS.get(sample.file, 1.0), content
    )
    yield first
    made = modern_copies if sample.file in MODERN else old_copies
    for copy in made(content, sample.bad, random):
        yield replace(first, content=copy, weight=first.weight * COPY_WEIGHT, copy=True)


def group_of(sample: Sample) -> str:
    """Messages that only an unfair test would separate: one sender's of one mailbox."""
    if sample.file == "modern_inbox":
        return domain_of(getattr(sample.content, "from"))
    return sample.id


def with_sender(content: Content, random: Random) -> Content:
    """With a made domain instead of a redacted one, and with or without a name: the good mail of
    Enron has none, which would tell the class."""
    name, _, address = getattr(content, "from").rpartition("<")
    address = address.strip("> ")
    if domain_of(address) in REDACTED:
        address = f"mail@{new_domain(random)}"
    if not name.strip() and random.random() < NAME_ADDED:
        words = re.findall(r"[a-z]{3,}", address.partition("@")[0].lower())
        name = " ".join(words).title() if words and random.random() < 0.6 else new_person(random)
    elif name.strip() and random.random() < NAME_LEFT_OUT:
        name = ""
    setattr(content, "from", f"{name.strip()} <{address}>" if name.strip() else address)
    return content


def old_copies(content: Content, bad: bool, random: Random) -> Iterator[Content]:
    if random.random() < (OLD_SPAM_SHELLS if bad else OLD_GOOD_SHELLS):
        yield in_shell(content, random)
    if content.headers and random.random() < 1 / 4:
        yield without_fields(content)


def modern_copies(content: Content, bad: bool, random: Random) -> Iterator[Content]:
    yield moved(content, random)
    yield relinked(content, random)
    if content.html and content.text:
        yield page_only(content)
    if content.headers or content.reply_to:
        yield without_fields(content)
    if not bad:
        yield relinked(moved(page_only(content), random), random)
