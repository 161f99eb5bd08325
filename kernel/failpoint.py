"""Named places where tests kill, stop or delay a process to prove that it recovers.

`OBM_FAILPOINTS="router.tick.committed=kill@3,delivery.body_sent=stop"`: at the third pass the
process sends itself SIGKILL, at the first pass SIGSTOP. `kafka.replay=wait@15`: each task that
passes waits for 15 seconds. Without the variable a pass costs one check. With
`OBM_FAILPOINT_LOG=FILE` the process first appends `name pid`, so that the test can see it.
"""

import asyncio
import os
import signal

WAIT = "wait"
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class _Armed:
    def __init__(self, action: signal.Signals, at_pass: int) -> None:
        self.action = action
        self.passes_left = at_pass


_armed: dict[str, _Armed] = {}
_waits_s: dict[str, float] = {}


def _parse(text: str) -> None:
    for entry in filter(None, text.split(",")):
        name, _, action = entry.partition("=")
        kind, _, number = action.partition("@")
        if kind == WAIT:
            _waits_s[name] = float(number)
        else:
            _armed[name] = _Armed(ACTIONS[kind], int(number or 1))


_parse(os.environ.get("OBM_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """A named place. Nothing happens unless this process was started with an action for it."""
    if _armed and (armed := _armed.get(name)):
        armed.passes_left -= 1
        if armed.passes_left == 0:
            _log_action(name)
            os.kill(os.getpid(), armed.action)


async def waitpoint(name: str) -> None:
    """A named place. It delays the caller if this process was started with a wait for it."""
    if _waits_s and (wait_s := _waits_s.get(name)):
        await asyncio.sleep(wait_s)


def _log_action(name: str) -> None:
    if path := os.environ.get("OBM_FAILPOINT_LOG"):
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{name} {os.getpid()}\n")
