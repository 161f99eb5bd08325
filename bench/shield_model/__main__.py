"""`python -m bench.shield_model [FOLDER]`: train services/shield/shield.model from labelled mail.

The packs of the folder (`../shared/data/mail`) are not part of this repository. The same packs and
the same seed give the same file, byte for byte.
"""

import argparse
from pathlib import Path
from typing import Any

from bench.shield_model.canaries import choose_canaries
from bench.shield_model.examples import training_examples
from bench.shield_model.origin import origin_array, origin_of
from bench.shield_model.training import train
from bench.shield_model.vectors import vectors_of
from services.shield.domain.learning.canaries import canary_arrays
from services.shield.domain.model.file import load_model, pack_model
from services.shield.domain.model.margin import TrainedModel
from services.shield.domain.rulebook import Rulebook, parse_rulebook

SHIELD = Path(__file__).parents[2] / "services/shield"
PACKS = Path(__file__).parents[3] / "shared/data/mail"
NAME = "1"  # of the model: another one for another design
MADE, SEED = 5_000, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=PACKS)
    parser.add_argument("--output", type=Path, default=SHIELD / "shield.model")
    parser.add_argument("--made", type=int, default=MADE, help="number of made messages")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    if not any(arguments.folder.glob("*.jsonl.zst")):
        parser.error(f"{arguments.folder} has no *.jsonl.zst: say where the labelled mail is")
    book = parse_rulebook((SHIELD / "rules.toml").read_text())
    examples = training_examples(arguments.folder, made=arguments.made, seed=arguments.seed)
    data = vectors_of(examples, book)
    print(f"{len(data.bad)} examples, {int(data.bad.sum())} of them bad", flush=True)
    rules = tuple(each.name for each in book.rules)
    model = train(data, name=NAME, rules=rules, seed=arguments.seed)
    origin = origin_of(arguments.folder, book, made=arguments.made, seed=arguments.seed)
    canaries = arrays_of_canaries(arguments.folder, model, book)
    packed = pack_model(model, {**canaries, **origin_array(origin)})
    arguments.output.write_bytes(packed)
    print(f"{arguments.output}: {len(packed)} bytes, version {load_model(packed).version}")


def arrays_of_canaries(folder: Path, model: TrainedModel, book: Rulebook) -> dict[str, Any]:
    canaries = choose_canaries(folder, model, book)
    return canary_arrays(canaries) if canaries else {}


if __name__ == "__main__":
    main()
