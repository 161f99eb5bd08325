"""Named places where a process can be made to die or freeze, so that tests can prove that it may.

`OBM_FAILPOINTS="router.tick.committed=kill@3,delivery.body_sent=stop"`: at the third pass kill -9
itself, at the first pass SIGSTOP itself. A pass costs one dict lookup when nothing is set. With
`OBM_FAILPOINT_LOG=FILE` each action appends `name pid` first, so that the one who watches knows.
`kafka.replay=wait@15`: whatever comes there waits for 15 seconds, and everything else goes on.
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
        verb, _, number = action.partition("@")
        if verb == WAIT:
            _waits_s[name] = float(number)
        else:
            _armed[name] = _Armed(ACTIONS[verb], int(number or 1))


_parse(os.environ.get("OBM_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """A place with a name. Nothing happens, unless this process was started to die here."""
    if _armed and (armed := _armed.get(name)):
        armed.passes_left -= 1
        if armed.passes_left == 0:
            _log_action(name)
            os.kill(os.getpid(), armed.action)


async def waitpoint(name: str) -> None:
    """A place with a name, where a process may have been started to be late."""
    if _waits_s and (wait_s := _waits_s.get(name)):
        await asyncio.sleep(wait_s)


def _log_action(name: str) -> None:
    if path := os.environ.get("OBM_FAILPOINT_LOG"):
        with open(path, "a", encoding="utf-8") as log:
            log.write(f"{name} {os.getpid()}\n")
