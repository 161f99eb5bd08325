"""`python -m bench --tracking`: what delivery spends on tracking opens and clicks.

One engine sends the same messages, whose html has 14 links, with tracking and without it in turns.
Each message has a recipient of its own, so nothing is composed once for many.
"""

from pathlib import Path
from statistics import median

from bench.contestant import Contestant
from bench.engine import engine
from bench.folder import folder_of
from bench.messages import RESERVED
from bench.printing import console, print_table, progress
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import FULL, QUICK, Turn, TurnContext, full_load, warm_up
from cli.api import Api, Credentials

SAMPLE_EVERY = 97
BRANDS = f"""
[default]
name = "Bench"
slug = "bench"
sandbox_domain = "sandbox.{RESERVED}"
tracking_host = "links.{RESERVED}"
"""


def measure_tracking(*, turns: int, quick: bool) -> dict[str, object]:
    """The ratio of the CPU time of delivery per message, with tracking over without."""
    signature_ms = time_rsa_2048()
    found: dict[bool, list[Turn]] = {False: [], True: []}
    with sink([f"--sample-every={SAMPLE_EVERY}"]) as started, progress(console) as report_progress:
        context = TurnContext(started, QUICK if quick else FULL, report_progress)
        with (
            folder_of("tracking") as root,
            engine(root, context.routes, {"OBM_BRANDS_FILE": str(brands_file(root))}) as contestant,
        ):
            for number in range(1 + turns):
                for is_on, measured in found.items():
                    set_tracking(contestant, is_on=is_on)
                    if number == 0:
                        warm_up(context, contestant)
                    else:
                        measured.append(full_load(context, contestant))
    show(found)
    return {"signature_ms": signature_ms, "quick": quick, "tracking": as_json(found)}


def brands_file(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    path = root / "brands.toml"
    path.write_text(BRANDS)
    return path


def set_tracking(contestant: Contestant, *, is_on: bool) -> None:
    """Of the domain, for the messages that are accepted from now on."""
    api = Api(Credentials(f"http://127.0.0.1:{contestant.port}/v1", contestant.key, "the bench"))
    [domain] = api.get("/domains")["data"]
    change = {"open_tracking": is_on, "click_tracking": is_on}
    api.patch(f"/domains/{domain['id']}", change)


def as_json(found: dict[bool, list[Turn]]) -> dict[str, object]:
    off, on = ([turn.cpu_ms["delivery"] for turn in found[is_on]] for is_on in (False, True))
    pairs = [round(after / before, 3) for before, after in zip(off, on, strict=True)]
    return {
        "cpu_ratio": median(pairs),
        "pairs": pairs,
        "off_ms": off,
        "on_ms": on,
        "sampled": sum(turn.sampled for turn in found[True]),
        "verified": sum(turn.verified for turn in found[True]),
    }


def show(found: dict[bool, list[Turn]]) -> None:
    figures = as_json(found)
    print_table(
        console,
        "CPU time of delivery per message, ms",
        columns=("tracking", "median", "turns"),
        rows=[
            (
                "on" if is_on else "off",
                f"{median(turn.cpu_ms['delivery'] for turn in turns):.3f}",
                " ".join(f"{turn.cpu_ms['delivery']:.3f}" for turn in turns),
            )
            for is_on, turns in found.items()
        ],
    )
    console.print(
        f"ratio {figures['cpu_ratio']}; signatures of tracked messages that verify: "
        f"{figures['verified']} of {figures['sampled']}"
    )
