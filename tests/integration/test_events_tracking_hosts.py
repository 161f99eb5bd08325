"""The listener of links serves the hosts of domains, in every process, also without its servers."""

from pathlib import Path

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.embedded.folder import free_port
from kernel.host_challenge import PATH, HostChallenges, new_challenge
from tests.support.events import Running, ScenarioRunner, run_scenario
from tests.support.keys import SECRET_KEY
from tests.support.links import click_path, link_client
from tests.support.message_events import MessageEvents
from tests.support.polling import until

__all__ = ["run_scenario"]
HOST, TARGET = "links.shop.customer.org", "links.own-brand.net"
URL = "https://shop.example/a"
BRANDS = """
[default]
name = "Own"
slug = "obm"
sandbox_domain = "obm-sandbox.net"
tracking_host = "links.own-brand.net"
"""


def record(version: int, *, active: bool = True) -> TrackingHost:
    return TrackingHost(
        tracking_host_id="1", version=version, host=HOST, target=TARGET, active=active
    )


async def status(port: int, host: str) -> int:
    async with link_client(port, host=host) as client:
        return (await client.request(click_path(MessageEvents(), URL))).status


async def prove(port: int) -> None:
    """Before events knows a host, it proves that a host leads to this installation."""
    challenge = new_challenge()
    async with link_client(port, host=HOST) as client:
        response = await client.request(f"{PATH}{challenge}")
    assert HostChallenges([SECRET_KEY]).is_response(response.body.decode(), challenge)


async def until_status(port: int, host: str, wanted: int) -> None:
    async def is_reached() -> bool:
        return await status(port, host) == wanted

    await until(is_reached)


def test_each_process_serves_a_host_once_it_is_verified_and_then_for_ever(
    run_scenario: ScenarioRunner, tmp_path: Path
) -> None:
    brands = tmp_path / "brands.toml"
    brands.write_text(BRANDS)
    ports = [free_port(), free_port()]

    def settings(port: int) -> dict[str, object]:
        return {
            "tracking_listen": f"127.0.0.1:{port}",
            "tracking_spool": str(tmp_path / str(port)),
            "brands_file": str(brands),
        }

    async def scenario(events: Running) -> None:
        async with run_scenario.service(**settings(ports[1])):
            for port in ports:
                await prove(port)
            for port in ports:
                await until_status(port, HOST, 421)
            await events.publish(record(1))
            for port in ports:
                await until_status(port, HOST, 302)
                assert await status(port, f"x.{HOST}") == 421
            await events.publish(record(2, active=False))
            # A host that the domain no longer has: its old links may still lead here.
            await events.publish(
                TrackingHost(tracking_host_id="2", version=3, host="t.example", target=TARGET)
            )
            for port in ports:
                await until_status(port, "t.example", 302)
                assert await status(port, HOST) == 302

    run_scenario(scenario, **settings(ports[0]))
