"""The control port of the sink: one JSON command per line, one JSON response per line."""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass

from bench.sink.script import Action, Script
from bench.sink.tally import Tally

Response = dict[str, object]
LINE_MAX = 1 << 26  # a sample of messages is long


@dataclass(frozen=True, slots=True)
class Control:
    """Commands: stats, received, reset, sample, attempted, copies, script {scope, action}."""

    tally: Tally
    script: Script

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(self.handle(json.loads(line))).encode() + b"\n")
            await writer.drain()
        writer.close()

    def handle(self, request: dict[str, str]) -> Response:
        commands: dict[str, Callable[[dict[str, str]], Response]] = {
            "stats": lambda _: dict(self.tally.stats()),
            "received": lambda _: {"messages": self.tally.messages},  # cheap enough to poll
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
        command = commands.get(request.get("command", ""))
        return command(request) if command else {"error": f"commands are {', '.join(commands)}"}

    def reset(self, request: dict[str, str]) -> Response:
        self.tally.reset()
        return {"reset": True}

    def set_script(self, request: dict[str, str]) -> Response:
        self.script.rule(request["scope"], Action(request["action"]))
        return {"rules": {scope: str(action) for scope, action in self.script.rules.items()}}
