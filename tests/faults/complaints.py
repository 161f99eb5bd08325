"""Kill delivery while complaints about its messages come back by mail."""

import contextlib
import smtplib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.events.domain.log_event import EventKind
from tests.faults.client import RETRY_AFTER_S
from tests.faults.world import World, read_json_lines, wait_until
from tests.support.returned_mail import complaint, hand_in

REPORTED_SHARE = 5  # a complaint about every fifth message
INTERVAL_S = 0.2
TIMEOUT_S = 120.0
REPORTED = f"""
SELECT count(DISTINCT subject_id), count(*) FROM events.unpartitioned_log
WHERE kind = {EventKind.COMPLAINT.value}
"""


def kill_under_complaints(world: World, times: int) -> None:
    """Kill -9 at random moments. Each complaint is repeated until it is accepted, and then once
    more: it must be in the log exactly once."""
    with complaining(world) as provider:
        for turn in range(times):
            world.pause(turn)
            world.kill("delivery")
            world.processes["delivery"].start()
            world.processes["delivery"].await_ready()
        world.pause(times)
    accepted = len(provider.accepted)
    world.notes.append(f"{accepted} complaints, {provider.interrupted} interrupted")
    if not accepted:
        raise AssertionError("no complaint was accepted")
    before = provider.before
    wait_until(
        lambda: logged(world)[0] >= before + accepted, TIMEOUT_S, "accepted complaints are lost"
    )
    if logged(world) != (before + accepted, before + accepted):
        raise AssertionError(f"{accepted} complaints, and {logged(world)} in the log")


def logged(world: World) -> tuple[int, int]:
    """Messages with a complaint, and complaints."""
    with world.database() as connection:
        row = connection.execute(REPORTED.encode()).fetchone()
    assert row is not None
    return int(str(row[0])), int(str(row[1]))


@dataclass
class Provider:
    """A mailbox provider. before: complaints in the log at the start. accepted: return paths of
    messages."""

    world: World
    stop: threading.Event
    before: int
    accepted: set[str] = field(default_factory=set)
    interrupted: int = 0

    def run(self) -> None:
        while not self.stop.wait(INTERVAL_S):
            entries = read_json_lines(self.world.folder / "sink.jsonl")[-100::REPORTED_SHARE]
            for path in {str(one["sender"]) for one in entries} - self.accepted:
                self._report(path)

    def _report(self, path: str) -> None:
        mail = complaint(path, f"Return-Path: <{path}>")
        interruptions = 0
        while not self._accepted(mail, path):
            interruptions += 1
            time.sleep(RETRY_AFTER_S)
        self.interrupted += interruptions > 0
        self.accepted.add(path)
        self._accepted(mail, path)

    def _accepted(self, mail: bytes, path: str) -> bool:
        listen = self.world.environment["DELIVERY_RETURN_PATH_LISTEN"]
        try:
            return hand_in(int(listen.rpartition(":")[2]), mail, path)[0] == 250
        except (OSError, smtplib.SMTPException):
            return False


@contextlib.contextmanager
def complaining(world: World) -> Iterator[Provider]:
    provider = Provider(world, threading.Event(), logged(world)[0])
    thread = threading.Thread(target=provider.run, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.stop.set()
        world.recover()  # so that it can finish its complaint
        thread.join()
