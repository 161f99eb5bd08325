"""Messages that exhaust the memory of shield's child process; other messages must not suffer."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from tests.faults.client import RETRY_AFTER_S
from tests.faults.world import World, wait_until
from tests.support.accounts import create_account

HELD_TIMEOUT_S = 90.0  # the machine may be busy
# Far less than shield's default, and far less than the tree of this page takes.
MEMORY_MIB = "24"
PAGE = "<p>" + "".join(f"<i a={number:x}>" for number in range(2000)) + "<p>x" * 9000


def exhaust_memory(world: World, times: int) -> None:
    """A message exceeds the memory limit of the child that parses it, and children are killed as by
    the kernel's out-of-memory killer. The message must be held, and shield must survive."""
    shield = world.processes["shield"]
    shield.terminate()
    shield.start(SHIELD_MESSAGE_MEMORY_MIB=MEMORY_MIB)
    shield.await_ready()
    domain = f"pages{world.faults}.obm-sender.net"
    key = create_account(world.environment, domain).api_key
    for turn in range(times):
        email_id = send(world, key, f"orders@{domain}", f"page{turn}@site0.obm-faults.net")
        kill_children(shield.pid)
        world.faults += 1
        wait_until(partial(is_held, world, key, email_id), HELD_TIMEOUT_S, "it was not held")
        call_api(world, key, "POST", f"emails/{email_id}/cancel")
    if not shield.running:
        raise AssertionError("a message has killed shield")
    shield.terminate()
    shield.start()


def kill_children(pid: int) -> None:
    """Kill the child processes of a process, which starts new ones."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def send(world: World, key: str, sender: str, recipient: str) -> str:
    email = {"from": sender, "to": recipient, "subject": "A page", "html": PAGE}
    return str(call_api(world, key, "POST", "emails", email)["id"])


def is_held(world: World, key: str, email_id: str) -> bool:
    return "content_too_complex" in str(call_api(world, key, "GET", f"emails/{email_id}/events"))


def call_api(
    world: World, key: str, method: str, path: str, body: object = None
) -> dict[str, object]:
    """Call the API, and repeat the request while the response is a 5xx."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{world.client.port}/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        method=method,
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
        time.sleep(RETRY_AFTER_S)
