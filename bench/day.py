"""`python -m bench.day FILE`: record what the engine does on a day of 24 steps of ten seconds.

Each step is an hour: mail arrives at its rate, and after it is read what the services have used and
how far their consumers are behind. The test of the autoscalers replays the file at a larger scale,
so the record has the speed of the machine (`signature_ms`, of one RSA signature).
"""

import json
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bench import cpu, record
from bench.child import end, spawn
from bench.contestant import Contestant
from bench.engine import engine
from bench.folder import folder_of
from bench.printing import console, progress
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import QUICK, Load, TurnContext, arguments, drain, warm_up
from cli.environment import SERVICES

STEP_S = 10.0
# Messages per second, by the hour (assumed): quiet nights, a working day, and newsletters at nine,
# at noon and at six in the evening.
RATES = (6, 5, 4, 4, 5, 7, 10, 15, 20, 45, 26, 25, 36, 25, 26, 27, 26, 22, 50, 20, 15, 12, 9, 7)
LAG, READ = "obm_consumer_lag_records", "obm_consumer_records_total"
TIMEOUT_S = 10.0


def main(path: Path) -> None:
    document = record.describe_origin() | {"signature_ms": time_rsa_2048(), "step_s": STEP_S}
    with sink([]) as started, progress(console) as report_progress:
        context = TurnContext(started, QUICK, report_progress)
        with folder_of("engine") as root, engine(root, context.routes) as contestant:
            warm_up(context, contestant)
            context.sink.sink.reset()
            steps = [take_step(context, contestant, rate) for rate in RATES]
            drain(context, contestant, accepted=sum(int(str(one["accepted"])) for one in steps))
            received = int(str(context.sink.sink.query("received")["messages"]))
    document |= {"delivered": received, "steps": steps}
    path.write_text(json.dumps(document, indent=1) + "\n")
    console.print(f"{sum(RATES) * STEP_S:.0f} messages, {received} arrived: {path}")


def take_step(context: TurnContext, contestant: Contestant, rate: float) -> dict[str, object]:
    """seconds: with the start of the load generator. received: by the sink, since the first step.
    cpu_s: by service. lag: records by consumer group, at the end. read: records by consumer."""
    pids = {name: contestant.processes[name] for name in SERVICES}
    before, read = cpu.snapshot(pids), consumers(contestant)[READ]
    began = time.monotonic()
    result = send(context, contestant, rate)
    seconds, after, now = time.monotonic() - began, cpu.snapshot(pids), consumers(contestant)
    return {
        "rate": rate,
        "seconds": round(seconds, 2),
        "accepted": result["accepted"],
        "received": context.sink.sink.query("received")["messages"],
        "cpu_s": {name: round(after[name] - before[name], 2) for name in pids},
        "lag": now[LAG],
        "read": {name: count - read.get(name, 0) for name, count in now[READ].items()},
    }


def send(context: TurnContext, contestant: Contestant, rate: float) -> Mapping[str, object]:
    """Without a wait for the mail to arrive."""
    load = Load("day", int(rate * STEP_S), rate=rate, is_intake=True)
    process = spawn("bench.load", arguments(context, contestant, load))
    assert process.stdout is not None
    try:
        results = [json.loads(line) for line in process.stdout]
    finally:
        end(process)
    found: dict[str, object] = results[-1]
    return found


def consumers(contestant: Contestant) -> dict[str, dict[str, int]]:
    """Records by consumer, of all services."""
    found: dict[str, dict[str, int]] = {LAG: {}, READ: {}}
    for name in SERVICES:
        for metric, counts in read_consumers(contestant.settings, name).items():
            found[metric] |= counts
    return found


def read_consumers(settings: Mapping[str, str], service: str) -> dict[str, dict[str, int]]:
    """Records by consumer, of the process with these settings."""
    found: dict[str, dict[str, int]] = {LAG: {}, READ: {}}
    url = f"http://{settings[f'{service.upper()}_HEALTH_LISTEN']}/metrics"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        text = response.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name][sample.labels["consumer"]] = int(sample.value)
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
