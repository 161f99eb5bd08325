"""DNS is away for a while: it is silent, or responds with errors, or with nothing."""

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx

from mail.dkim import zone_text
from tests.faults.world import SITES, World, domain, start_world, wait_until
from tests.support.accounts import keys_of_callers
from tests.support.forked_process import ForkedProcess
from tests.support.name_server import NOTHING, REFUSED, SERVFAIL, SILENT, NameServer, name_server

FAULTS = (SILENT, SERVFAIL, REFUSED, NOTHING)
OUTAGE_S = 30.0
NEW_DOMAINS = 20  # that have to be looked up during each outage
RECOVERED_WITHIN_S = 120.0
PREPARED_WITHIN_S = 60.0
NETWORK, SMTP_PORT = "127.0.79", 25  # DNS does not name a port
TTL_S = 30  # the shortest that is relied on, so that all that is known expires meanwhile
SOURCE, EHLO = f"{NETWORK}.21", "out.obm-faults.net"
VERIFIED = "verified.obm-sender.net"
BLOCKLISTS = """
[[list]]
name = "zen"
zone = "zen.example"
kinds = ["ipv4"]
terms = "The test's."
[list.answers]
"127.0.0.2" = { weight = 8.0, meaning = "a source of spam" }
"""
RECORDS = {
    "2.0.0.127.zen.example": {"A": ["127.0.0.2"]},
    "21.79.0.127.in-addr.arpa": {"PTR": [f"{EHLO}."]},
    EHLO: {"A": [SOURCE]},
}
OFTEN = (
    "ROUTER_SOURCE_CHECK_INTERVAL_S",
    "ROUTER_DNSBL_INTERVAL_S",
    "ROUTER_DNSBL_TEST_INTERVAL_S",
)


class Dns(NameServer):
    """The records of a file, which a scenario writes; and those of the receiving sites, and of all
    names below them."""

    def __init__(self, file: Path) -> None:
        super().__init__({})
        self.ttl_s = TTL_S
        self._file = file
        self.fault_of = lambda *_: str(read(self._file)["fault"])

    def find(self, name: str) -> Any:  # noqa: ANN401 - JSON
        for number in range(SITES):
            if name == mx_of(number):
                return {"A": [f"{NETWORK}.{number + 1}"]}
            if f".{name}".endswith(f".{domain(number)}") and "._" not in f".{name}":
                return {"MX": [f"10 {mx_of(number)}."]}
        return read(self._file)["records"].get(name)


def mx_of(number: int) -> str:
    """Of a domain of its own, so that each is a site."""
    return f"mx.obm-faults-{number}.net"


def read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def write(file: Path, **changes: object) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps({**read(file), **changes}))
    new.rename(file)


@contextmanager
def start_with_dns(
    folder: Path, *, seed: int, rate_per_s: float, audited: bool = False
) -> Iterator[World]:
    """As `start_world`, with routes from DNS. Only root may listen at port 25."""
    if os.geteuid() != 0:
        raise RuntimeError("Only root can listen at port 25. Run as root.")
    file_of(folder).write_text(json.dumps({"fault": "", "records": RECORDS}))
    (folder / "blocklists.toml").write_text(BLOCKLISTS)
    with served(file_of(folder)) as address:
        settings = {
            **{f"{name}_NAMESERVERS": address for name in ("ROUTER", "DELIVERY", "INGEST")},
            **{f"{name}_NAMESERVERS": address for name in ("SHIELD", "EVENTS")},
            **dict.fromkeys(OFTEN, "2"),
            "OBM_BLOCKLISTS_FILE": str(folder / "blocklists.toml"),
            "ROUTER_ROUTES_FILE": "",
        }
        options = [f"--network={NETWORK}", f"--port={SMTP_PORT}"]
        with start_world(
            folder,
            seed=seed,
            rate_per_s=rate_per_s,
            audited=audited,
            process=ForkedProcess,
            more_settings=settings,
            sink_options=options,
        ) as world:
            yield world


def file_of(folder: Path) -> Path:
    return folder / "dns.json"


@contextmanager
def served(file: Path) -> Iterator[str]:
    """The address of a name server in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = name_server({}, protocol=lambda _: Dns(file))
    _, address = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield address
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def dns_away(world: World, times: int) -> None:
    """One kind of outage after the other. Mail to known hosts goes on, other mail waits, and what
    DNS has said before of a domain and of a source stays."""
    with httpx.Client(base_url=f"http://{world.client.listens[0]}/v1", timeout=30) as api:
        checked = Checked(world, api)
        for turn in range(times):
            world.pause(turn)
            take_dns_away(world, checked, FAULTS[turn % len(FAULTS)])


def take_dns_away(world: World, checked: "Checked", fault: str) -> None:
    client, file = world.client, file_of(world.folder)
    world.faults += 1
    before = checked.state()
    write(file, fault=fault)
    began_s = time.monotonic()
    arrived = world.count_arrivals(client.accepted)
    waiting = client.burst(client.key, client.sender, NEW_DOMAINS, own_domains=True)
    checked.check_domain()
    time.sleep(max(0.0, began_s + OUTAGE_S - time.monotonic()))
    went_on = world.count_arrivals(client.accepted) - arrived
    if not went_on:
        raise AssertionError(f"no mail to known hosts has arrived while DNS was away ({fault})")
    if early := world.count_arrivals(waiting):
        raise AssertionError(f"{early} messages arrived without a lookup ({fault})")
    if (now := checked.state()) != before:
        raise AssertionError(f"{fault} has changed what was known: {before}, now {now}")
    write(file, fault="")
    restored_s = time.monotonic()
    wait_until(
        lambda: world.have_arrived(waiting, NEW_DOMAINS),
        RECOVERED_WITHIN_S,
        f"mail to new domains has not arrived after {fault}",
    )
    world.notes.append(
        f"{fault} for {restored_s - began_s:.0f} s: {went_on} arrived meanwhile, what had waited"
        f" {time.monotonic() - restored_s:.0f} s after it"
    )


class Checked:
    """A verified domain and a source of a pool of its own, which are checked all the time."""

    def __init__(self, world: World, api: httpx.Client) -> None:
        self._api = api
        self._own = {"Authorization": f"Bearer {world.client.key}"}
        operator = keys_of_callers(world.environment)["pools"]
        self._operator = {"Authorization": f"Bearer {operator}"}
        pool = self._call("POST", "/pools", {"name": "checked"}, operator=True)["id"]
        source = {"addresses": [SOURCE], "pool_id": pool, "ehlo": EHLO}
        self._source_id = self._call("POST", "/ips", source, operator=True)["id"]
        made = self._call("POST", "/domains", {"name": VERIFIED})
        self._domain_id = made["id"]
        file = file_of(world.folder)
        write(file, records=read(file)["records"] | zone_of(made["records"]))
        self.check_domain()
        wait_until(
            lambda: self.state()["status"] == "verified",
            PREPARED_WITHIN_S,
            "the domain is not verified",
        )

    def check_domain(self) -> None:
        """And wait until that is done."""
        path = f"/domains/{self._domain_id}"
        before = self._call("GET", path)["checked_at"]
        self._call("POST", f"{path}/verify", {})
        wait_until(
            lambda: self._call("GET", path)["checked_at"] != before,
            PREPARED_WITHIN_S,
            "the domain was not checked",
        )

    def state(self) -> dict[str, Any]:
        """What DNS decides."""
        found = self._call("GET", f"/domains/{self._domain_id}")
        source = self._call("GET", f"/ips/{self._source_id}", operator=True)
        return {
            **{key: found[key] for key in ("status", "paused", "listings")},
            **{key: source[key] for key in ("state", "problems", "dnsbl")},
        }

    def _call(
        self, method: str, path: str, body: object = None, *, operator: bool = False
    ) -> dict[str, Any]:
        headers = self._operator if operator else self._own
        while True:
            response = self._api.request(method, path, json=body, headers=headers)
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:  # the machine may be busy
                break
            time.sleep(1)
        return dict(response.raise_for_status().json())


def zone_of(records: list[dict[str, Any]]) -> dict[str, dict[str, list[str]]]:
    """What a customer publishes."""
    zone: dict[str, dict[str, list[str]]] = {}
    for one in records:
        value = zone_text(one["value"]) if one["type"] == "TXT" else f"{one['value']}."
        if one["type"] == "MX":
            value = f"{one['priority']} {value}"
        zone.setdefault(one["name"], {})[one["type"]] = [value]
    return zone
