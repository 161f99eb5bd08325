"""Who connects to the return path, and to which of its hosts."""

import asyncio
import smtplib
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.authority import Certified
from tests.support.delivery import Harness
from tests.support.return_path import world_of
from tests.support.stack import harness_fixture
from tests.support.submission import RawClient, write_certificate

harness = harness_fixture(Harness, scope="module")


async def test_each_host_of_a_brand_has_its_certificate_and_its_name(
    harness: Harness, tmp_path: Path
) -> None:
    root = Certified.root("root")
    (tmp_path / "own").mkdir()
    default = write_certificate(tmp_path, "localhost", issuer=root)
    own = write_certificate(tmp_path / "own", "mx.partner.example", issuer=root)
    brands = tmp_path / "brands.toml"
    brands.write_text(
        '[partner]\nname = "Partner"\nslug = "partner"\nsandbox_domain = "s.example"\n'
        'bounce_mx = "mx.partner.example"\n[partner.certificates."mx.partner.example"]\n'
        f'certificate = "{own[0]}"\nkey = "{own[1]}"\n'
    )
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=root.certificate.public_bytes(Encoding.PEM).decode())

    def name_at(host: str, port: int) -> str:
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as client:
            assert client.ehlo()[1].startswith(b"mx.sender.example\n")
            client._host = host  # type: ignore[attr-defined]  # whose certificate is verified
            client.starttls(context=context)
            return client.ehlo()[1].partition(b"\n")[0].decode()

    tls = {"tls_certificate": default[0], "tls_key": default[1], "brands_file": str(brands)}
    async with world_of(harness, **tls) as world:
        names = {
            host: await asyncio.to_thread(name_at, host, world.port)
            for host in ("mx.partner.example", "localhost")
        }
    assert names == {"mx.partner.example": "mx.partner.example", "localhost": "mx.sender.example"}


async def test_a_balancer_names_the_client(harness: Harness) -> None:
    limits = {"return_path_client_connections_max": 1, "return_path_proxies": "127.0.0.0/8"}
    version_1 = b"PROXY TCP4 192.0.2.1 10.0.0.1 5000 25\r\n"
    version_2 = (
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x02\x0a\x00\x00\x01\x13\x88\x00\x19"
    )

    def greetings_of(port: int) -> list[str]:
        with RawClient(port, tls=False, first=version_1) as one:
            found = [one.reply()]
            for first in (version_2, version_1, b"EHLO client.example\r\n"):
                with RawClient(port, tls=False, first=first) as other:
                    found.append(other.reply())
        return found

    async with world_of(harness, **limits) as world:
        replies = await asyncio.to_thread(greetings_of, world.port)
    assert [one[:3] for one in replies] == ["220", "220", "421", ""]


async def test_a_balancer_checks_the_server(harness: Harness) -> None:
    checks = (b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00")

    def replies_of(port: int) -> list[str]:
        found = []
        for first in checks:
            with RawClient(port, tls=False, first=first) as one:
                found += [one.reply(), *one.send(b"NOOP\r\n")]
        return found

    async with world_of(harness, return_path_proxies="127.0.0.0/8") as world:
        replies = await asyncio.to_thread(replies_of, world.port)
    assert [one[:3] for one in replies] == ["220", "250", "220", "250"]


async def test_only_a_balancer_names_the_client(harness: Harness) -> None:
    async with world_of(harness, return_path_proxies="192.0.2.0/24") as world:

        def replies() -> list[str]:
            with RawClient(world.port, tls=False, first=b"PROXY TCP4 192.0.2.1 x 1 25\r\n") as one:
                return [one.reply(), one.reply()]

        found = await asyncio.to_thread(replies)
    assert [one[:3] for one in found] == ["220", "500"]
