"""The sink's second door: one JSON command per line, one JSON answer per line."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from bench.sink.script import Action, Script
from bench.sink.tally import Tally

Answer = dict[str, object]
LINE_MAX = 1 << 26  # a sample of whole messages is long


@dataclass(frozen=True, slots=True)
class Control:
    """Commands: stats, taken, reset, sample, attempted, copies, script {scope, action}."""

    tally: Tally
    script: Script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(self.answer(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    def answer(self, asked: dict[str, str]) -> Answer:
        commands: dict[str, Callable[[dict[str, str]], Answer]] = {
            "stats": lambda _: dict(self.tally.stats()),
            "taken": lambda _: {"messages": self.tally.messages},  # cheap enough to poll
            "reset": self.reset,
            "sample": lambda _: {
                "messages": [base64.b64encode(raw).decode() for raw in self.tally.sample]
            },
            "attempted": lambda _: dict(self.tally.attempted),
            "copies": lambda _: {
                "copies": [[*key, count] for key, count in self.tally.copies.items()]
            },
            "script": self.set_script,
        }
        command = commands.get(asked.get("command", ""))
        return command(asked) if command else {"error": f"commands are {', '.join(commands)}"}

    def reset(self, asked: dict[str, str]) -> Answer:
        self.tally.reset()
        return {"reset": True}

    def set_script(self, asked: dict[str, str]) -> Answer:
        self.script.rule(asked["scope"], Action(asked["action"]))
        return {"rules": {scope: str(action) for scope, action in self.script.rules.items()}}
