"""The sink's control connection."""

import re
from pathlib import Path

from bench.sink.control import Control
from bench.sink.script import Script
from bench.sink.tally import Tally

SENT = re.compile(r"""query\("(\w+)"|"command": "(\w+)\"""")


def test_the_sink_knows_every_command_that_the_bench_sends() -> None:
    sources = Path("bench").rglob("*.py")
    commands = {a or b for path in sources for a, b in SENT.findall(path.read_text())}
    assert {"stats", "received"} <= commands
    control = Control(Tally(), Script())
    known = str(control.handle({})["error"])
    assert [one for one in commands if one not in known] == []
