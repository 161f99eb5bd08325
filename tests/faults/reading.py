"""What a message can do to who reads it, under load: mail that it is not stays unharmed."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from tests.faults.client import AGAIN_AFTER_S
from tests.faults.world import World, wait_until
from tests.support.accounts import create_account

HELD_WITHIN_S = 90.0  # the machine may be busy
# Far less than shield allows, and far less than the tree of this page takes.
MEMORY_MIB = "24"
PAGE = "<p>" + "".join(f"<i a={number:x}>" for number in range(2000)) + "<p>x" * 9000


def eat_memory(world: World, times: int) -> None:
    """A message takes all the memory that its reader may have, and readers are killed as the
    system kills who has taken too much. It is held, and shield itself goes on."""
    shield = world.processes["shield"]
    shield.terminate()
    shield.start(SHIELD_MESSAGE_MEMORY_MIB=MEMORY_MIB)
    shield.await_ready()
    domain = f"pages{world.faults}.obm-sender.net"
    key = create_account(world.environment, domain).api_key
    for turn in range(times):
        email_id = send(world, key, f"orders@{domain}", f"page{turn}@site0.obm-faults.net")
        kill_readers(shield.pid)
        world.faults += 1
        wait_until(partial(is_held, world, key, email_id), HELD_WITHIN_S, "it was not held")
        ask(world, key, "POST", f"emails/{email_id}/cancel")
    if not shield.running:
        raise AssertionError("a message has ended shield")
    shield.terminate()
    shield.start()


def kill_readers(pid: int) -> None:
    """Those that are at work; it makes them again."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)


def send(world: World, key: str, sender: str, recipient: str) -> str:
    email = {"from": sender, "to": recipient, "subject": "A page", "html": PAGE}
    return str(ask(world, key, "POST", "emails", email)["id"])


def is_held(world: World, key: str, email_id: str) -> bool:
    return "content_too_complex" in str(ask(world, key, "GET", f"emails/{email_id}/events"))


def ask(world: World, key: str, method: str, path: str, body: object = None) -> dict[str, object]:
    """Again, while the answer is that it cannot be done just now."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{world.client.port}/v1/{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        method=method,
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
        time.sleep(AGAIN_AFTER_S)
