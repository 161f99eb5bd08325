"""The trainer of shield's model, on made mail alone."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import zstandard

from bench.shield_corpus import Sample, content, read_pack
from bench.shield_model import linear, training, vectors
from bench.shield_model.boosting import Floats, to_arrays
from bench.shield_model.canaries import choose_canaries, is_canary
from bench.shield_model.copies import in_shell, moved, relinked
from bench.shield_model.examples import Example, forms, training_examples
from bench.shield_model.made import made_mail
from mail.address import domain_of
from services.shield.domain.model.file import load_model, pack_model
from services.shield.domain.model.trees import LEAVES
from services.shield.domain.rulebook import parse_rulebook
from services.shield.domain.scoring import Scorer
from tests.unit.services.shield.samples import make_content, packed_model, rules_text

BOOK = parse_rulebook(rules_text())
RULES = tuple(each.name for each in BOOK.rules)


def pack(folder: Path, name: str, *rows: dict[str, str]) -> Path:
    path = folder / f"{name}.jsonl.zst"
    lines = "".join(json.dumps(each) + "\n" for each in rows)
    path.write_bytes(zstandard.compress(lines.encode()))
    return path


def row(number: int, label: str, split: str, text: str) -> dict[str, str]:
    raw = f"From: Ann <ann@acme.example>\nSubject: Hello\n\n{text}\n"
    return {"id": f"m{number}", "label": label, "sub": "a", "split": split, "raw": raw}


def train(folder: Path) -> bytes:
    """A file that is made fast."""
    with pytest.MonkeyPatch.context() as patches:
        for module, name in ((linear, "STEPS"), (training, "FOLDS"), (vectors, "FOLDS")):
            patches.setattr(module, name, 2)
        data = vectors.vectors_of(training_examples(folder, made=200, seed=3), BOOK)
        return pack_model(training.train(data, name="t", rules=RULES, seed=3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """On made mail alone."""
    return train(tmp_path_factory.mktemp("empty"))


def test_the_same_corpus_trains_the_same_file(tmp_path: Path, trained: bytes) -> None:
    assert train(tmp_path) == trained
    model = load_model(trained)
    assert model.version.startswith("t-")
    scorer = Scorer(BOOK, model)
    good = [scorer.score(c).score for _, bad, c in made_mail(90, 8) if not bad]
    bad = [scorer.score(c).score for _, bad, c in made_mail(90, 8) if bad]
    assert np.median(bad) > np.median(good)


def test_cut_points_come_from_good_mail_of_corpora_left_out(tmp_path: Path, trained: bytes) -> None:
    bare = load_model(trained)
    pack(tmp_path, "spamassassin", *[row(n, "ham", "train", f"words {n}") for n in range(5)])
    cut = load_model(train(tmp_path))
    assert (bare.hold, bare.block) == (0.0, training.BLOCK_ABOVE_HOLD)
    assert cut.hold != 0.0
    assert cut.block >= cut.hold + training.BLOCK_ABOVE_HOLD


def test_neither_the_test_split_nor_the_evaluation_pack_is_trained_on(tmp_path: Path) -> None:
    pack(tmp_path, "spamassassin", row(1, "ham", "train", "a"), row(2, "ham", "test", "b"))
    pack(tmp_path, "phishing_pot_le2024", row(3, "phish", "train", "c"))
    pack(tmp_path, "sa_tests", row(4, "spam", "train", "d"))
    found = list(training_examples(tmp_path, made=0, seed=1))
    assert {each.group for each in found} == {"m1"}


def sample(text: str, sender: str, *, label: str = "spam") -> Sample:
    return Sample("m1", label, "spamassassin", "a", "train", make_content(text=text, sender=sender))


def first(found: Sample) -> Example:
    return next(forms(found, Random(1)))


def test_a_redacted_sender_is_replaced() -> None:
    redacted = sample("a", '"Dr. Wood" <sender@mailer-example.net>')
    assert domain_of(getattr(first(redacted).content, "from")) != "mailer-example.net"


def test_a_named_inline_part_is_a_body_and_an_attached_one_is_a_file() -> None:
    part = 'Content-Type: text/plain; name="a.txt"\nContent-Disposition: {}\n\nhello\n'
    inline, attached = (content(part.format(kind).encode()) for kind in ("inline", "attachment"))
    assert (inline.text.strip(), len(inline.attachments)) == ("hello", 0)
    assert (attached.text, len(attached.attachments)) == ("", 1)


def test_copies_keep_the_text_of_a_message() -> None:
    original = make_content(text="One https://a.example/x?y=1\n\nTwo & three")
    shell = in_shell(original, Random(2))
    assert "Two &amp; three" in shell.html
    assert 'href="https://a.example/x?y=1"' in shell.html
    assert "a.example" not in relinked(original, Random(2)).text
    assert domain_of(getattr(moved(original, Random(2)), "from")) != "acme.example"


def test_made_mail_has_both_classes_and_no_open_slot() -> None:
    made = list(made_mail(120, 5))
    assert {bad for _, bad, _ in made} == {True, False}
    texts = [f"{c.subject} {c.text}" for _, _, c in made]
    assert not [each for each in texts if "{" in each or "|" in each]


def test_a_pack_is_read_with_its_parts(tmp_path: Path) -> None:
    path = pack(tmp_path, "x", row(1, "phish", "-", "hi"), row(2, "bounce", "-", "no"))
    [found] = read_pack(path)
    assert (found.sub, found.file, found.bad, found.content.text) == ("a", "x", True, "hi\n")


def test_canaries_come_from_the_test_split_alone(tmp_path: Path) -> None:
    rows = [row(n, "spam" if n % 2 else "ham", "test", f"words {n}") for n in range(60)]
    others = [row(n, "spam", "train", f"others {n}") for n in range(100, 160)]
    pack(tmp_path, "spamassassin", *rows, *others)
    pack(tmp_path, "phishing_pot_le2024", *[row(n, "phish", "test", "x") for n in range(200, 260)])
    tests = [each for each in read_pack(tmp_path / "spamassassin.jsonl.zst") if is_canary(each)]
    assert 2 <= len(tests) < 20
    assert {each.split for each in tests} == {"test"}
    model = replace(load_model(packed_model()), version="t")
    found = choose_canaries(tmp_path, model, BOOK)
    assert found
    assert len(found.entries) == len(tests)
    (tmp_path / "spamassassin.jsonl.zst").unlink()
    assert choose_canaries(tmp_path, model, BOOK) is None


def test_the_arrays_of_trees_give_what_the_trees_give() -> None:
    random = Random(7)
    trees = [a_tree(random, leaves=random.randint(1, LEAVES)) for _ in range(30)]
    arrays = to_arrays(trees)
    for _ in range(100):
        row = np.array([random.choice([0.0, 0.5, random.random()]) for _ in range(NUMBERS)])
        expected = [leaf_of(each, row) for each in trees]
        assert arrays.sum_for(row) == np.array(expected).sum()
        for at, lookers in enumerate(arrays.lookers(NUMBERS)):
            other = row.copy()
            other[at] = 1 - other[at]
            moved = {n for n, each in enumerate(trees) if leaf_of(each, other) != expected[n]}
            assert moved <= set(lookers.tolist())


NUMBERS = 5


def a_tree(random: Random, *, leaves: int) -> dict[str, Any]:
    """As LightGBM dumps it."""
    if leaves == 1:
        return {"leaf_value": random.random()}
    left = random.randint(1, leaves - 1)
    return {
        "split_feature": random.randrange(NUMBERS),
        "threshold": random.choice([0.5, random.random()]),
        "left_child": a_tree(random, leaves=left),
        "right_child": a_tree(random, leaves=leaves - left),
    }


def leaf_of(node: dict[str, Any], row: Floats) -> float:
    while "leaf_value" not in node:
        above = row[node["split_feature"]] > node["threshold"]
        node = node["right_child" if above else "left_child"]
    return float(node["leaf_value"])
