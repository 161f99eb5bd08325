"""The README's words, run: a customer from nothing to four messages at a Postfix, by API alone."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dkim
import pytest

from mail.dkim import zone_text
from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine, engine_of
from tests.support.name_server import NameServer, name_server
from tests.support.pages import ROOT
from tests.support.postfix import postfix
from tests.support.reader import Reader, exported_by_make_run
from tests.support.stack import FreshDatabase

INBOX = "inbox.example.net"
RESERVED = "example.net"
WITHIN_S = 120.0
MESSAGES = 4


class RunningNameServer:
    """A name server in a thread of its own."""

    def __init__(self) -> None:
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.server: NameServer | None = None
        self.address = ""

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with name_server({}) as (self.server, self.address):
            self._started.set()
            await self._stop.wait()

    @contextmanager
    def running(self) -> Iterator["RunningNameServer"]:
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        thread.start()
        self._started.wait()
        try:
            yield self
        finally:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()

    def publish_from(self, file: Path) -> None:
        """Publish the records of a created domain, as the reader would, once the file is there."""
        deadline_s = time.monotonic() + WITHIN_S
        while not (file.exists() and file.read_text().rstrip().endswith("}")):
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        zone: dict[str, dict[str, list[str]]] = {}
        for one in json.loads(file.read_text())["records"]:
            is_text = one["type"] == "TXT"
            value = zone_text(one["value"]) if is_text else f"{one['priority']} {one['value']}."
            zone.setdefault(one["name"], {})[one["type"]] = [value]
        assert self.server is not None
        self.server.records = zone


@pytest.fixture
def names() -> Iterator[RunningNameServer]:
    with RunningNameServer().running() as running:
        yield running


@pytest.fixture
def inbox() -> Iterator[tuple[int, Path]]:
    with postfix(settings=f"virtual_mailbox_domains = {INBOX}\n") as (port, folder):
        yield port, folder / "new"


@pytest.fixture
def engine(
    bootstrap_servers: str,
    database: FreshDatabase,
    tmp_path: Path,
    names: RunningNameServer,
    inbox: tuple[int, Path],
) -> Iterator[Engine]:
    routes = tmp_path / "routes.toml"
    routes.write_text(f'[[route]]\ndomain = "{INBOX}"\nmx_hosts = ["127.0.0.1:{inbox[0]}"]\n')
    settings = {
        "OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}.",
        "INGEST_NAMESERVERS": names.address,
        "INGEST_ALLOWED_RESERVED_DOMAINS": RESERVED,
        "ROUTER_ROUTES_FILE": str(routes),
        "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    with engine_of(
        tmp_path, bootstrap_servers=bootstrap_servers, database=database, settings=settings
    ) as running:
        yield running


@pytest.mark.timeout(600)
def test_four_messages_of_a_new_customer_arrive_signed(
    engine: Engine, names: RunningNameServer, inbox: tuple[int, Path], tmp_path: Path
) -> None:
    (folder := tmp_path / "reader").mkdir()
    exported = exported_by_make_run(engine, folder)
    exported["OBM_OPERATOR_KEY"] = keys_of_callers(engine.environment)["accounts"]
    publishing = threading.Thread(target=names.publish_from, args=(folder / "domain.json",))
    publishing.start()

    Reader(folder, exported).read_page(ROOT / "README.md")

    publishing.join()
    assert names.server is not None
    records = text_records(names.server.records)
    for path in await_files(inbox[1], MESSAGES):
        wire = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        for index in range(2):
            assert dkim.DKIM(wire).verify(
                idx=index, dnsfunc=lambda name, timeout=5: records[name.decode().rstrip(".")]
            )


def text_records(zone: Mapping[str, Mapping[str, list[str] | str] | str]) -> dict[str, bytes]:
    """The value of each TXT record, its strings joined."""
    return {
        name: "".join(of["TXT"][0].split('"')[1::2]).encode()
        for name, of in zone.items()
        if isinstance(of, Mapping) and "TXT" in of
    }


def await_files(folder: Path, count: int) -> list[Path]:
    until_s = time.monotonic() + WITHIN_S
    while not folder.is_dir() or len([*folder.iterdir()]) < count:
        assert time.monotonic() < until_s
        time.sleep(0.1)
    found = sorted(folder.iterdir())
    assert len(found) == count
    return found
