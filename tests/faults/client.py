"""A client that repeats a request with its idempotency key until it has a response."""

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

TIMEOUT_S = 10.0
RETRY_AFTER_S = 0.2
TEXT = "Dear {recipient}, thank you for your order.\n" * 20
DEFER_EVERY = 8  # the sink defers every 8th message once


@dataclass
class Client:
    """listens: host:port of each replica of the API; a request that fails is repeated at the next.
    accepted: email id by recipient, for each 202; other messages need not be delivered.
    accepted_at_s: when, by time.monotonic()."""

    listens: Sequence[str]
    key: str
    sender: str
    rate_per_s: float
    seed: int
    accepted: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    accepted_at_s: list[float] = field(default_factory=list)
    threads: int = 4

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._workers: list[threading.Thread] = []
        self._serial = 0
        self._lock = threading.Lock()
        self._random = random.Random(self.seed)
        self._turns = itertools.count()

    @property
    def targets(self) -> list[tuple[str, int]]:
        """Hosts and ports of the replicas."""
        return [
            (host, int(port)) for host, _, port in (one.rpartition(":") for one in self.listens)
        ]

    @property
    def port(self) -> int:
        return self.targets[0][1]

    def connect(self) -> http.client.HTTPConnection:
        """To each replica in turn."""
        host, port = self.targets[next(self._turns) % len(self.listens)]
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)

    def start(self) -> None:
        self._workers = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self.threads)
        ]
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Send no new message; started requests are repeated until they have a response."""
        self._stop.set()
        for worker in self._workers:
            worker.join()
        self._workers = []

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def resume(self) -> None:
        self._stop.clear()
        self.start()

    def burst(
        self,
        key: str,
        sender: str,
        number: int,
        *,
        text: str = TEXT,
        own_domains: bool = False,
        domain: str = "",
    ) -> list[str]:
        """Send a number of messages at once, from any account. text: with the recipient in it.
        own_domains: no two recipients have one in common. domain: of all of them. Returns their
        recipients."""
        connection = self.connect()
        recipients = [self.next_recipient(defer_every=0) for _ in range(number)]
        names = [one.partition("@") for one in recipients]
        if own_domains:
            recipients = [f"{name}@{name}.{shared}" for name, _, shared in names]
        if domain:
            recipients = [f"{name}@{domain}" for name, *_ in names]
        for recipient in recipients:
            self._send(connection, recipient, key=key, sender=sender, text=text)
        connection.close()
        return recipients

    def _work(self) -> None:
        connection = self.connect()
        interval_s = self.threads / self.rate_per_s
        while not self._stop.is_set():
            started_s = time.monotonic()
            self._send(connection, self.next_recipient(), key=self.key, sender=self.sender)
            self._stop.wait(max(0.0, interval_s - (time.monotonic() - started_s)))
        connection.close()

    def next_recipient(self, *, defer_every: int = DEFER_EVERY) -> str:
        with self._lock:
            self._serial += 1
            deferred = "defer1+" if defer_every and not self._serial % defer_every else ""
            return f"{deferred}u{self._serial}@site{self._serial % 4}.obm-faults.net"

    def _send(
        self,
        connection: http.client.HTTPConnection,
        recipient: str,
        *,
        key: str,
        sender: str,
        text: str = TEXT,
    ) -> None:
        body = json.dumps(
            {
                "from": sender,
                "to": recipient,
                "subject": f"Your order {recipient}",
                "text": text.format(recipient=recipient),
            }
        )
        headers = {
            "Authorization": f"Bearer {key}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"{self.seed}-{recipient}",
        }
        while True:
            try:
                connection.request("POST", "/v1/emails", body, headers)
                response = connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request opens it again
                connection.host, connection.port = self._next_target(connection)
                time.sleep(RETRY_AFTER_S)
                continue
            if response.status == 202:
                self.accepted[recipient] = json.loads(content)["id"]
                self.accepted_at_s.append(time.monotonic())
                return
            if response.status < 500 and response.status not in {409, 429}:
                self.refused[recipient] = response.status
                return
            time.sleep(RETRY_AFTER_S)

    def _next_target(self, connection: http.client.HTTPConnection) -> tuple[str, int]:
        """As a load balancer chooses another replica for the next request."""
        at = self.targets.index((connection.host, connection.port))
        return self.targets[(at + 1) % len(self.targets)]
