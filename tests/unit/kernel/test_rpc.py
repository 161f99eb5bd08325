"""The token that authenticates services, and TLS between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from contracts.router.v1.router_service_pb2 import ReconcileRequest
from contracts.router.v1.router_service_pb2_grpc import RouterServiceStub
from kernel.errors import ConfigError
from kernel.rpc import RpcClient, RpcError, RpcServer, RpcUnavailable
from kernel.rpc_tls import RpcTls
from kernel.settings import read_settings
from kernel.tls import CertificateFiles
from services.shield.settings import Settings as ShieldSettings
from tests.support.authority import Certified
from tests.support.tls import certificate_files, client_context, shake_hands


def test_a_service_without_a_token_does_not_start() -> None:
    with pytest.raises(ConfigError, match="OBM_RPC_TOKEN"):
        RpcServer("127.0.0.1:0", "")


def test_a_client_does_not_start_without_a_token() -> None:
    with pytest.raises(ConfigError, match="OBM_RPC_TOKEN"):
        RpcClient("router", "127.0.0.1:1", "")


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str], CertificateFiles]:
    """Certificates of one authority, whose certificate is at the end of each chain."""
    authority = Certified.root("the installation's")

    def made(*names: str) -> CertificateFiles:
        return certificate_files(tmp_path / names[0], *names, issuer=authority)

    return made


@asynccontextmanager
async def served(tls: RpcTls | None) -> AsyncIterator[str]:
    server = RpcServer("127.0.0.1:0", "token", tls)
    running = asyncio.create_task(server.run())
    yield f"127.0.0.1:{server.port}"
    running.cancel()
    await asyncio.wait([running])


async def call(address: str, tls: RpcTls | None, token: str = "token") -> RpcError:
    """The error of a method that no servicer has: it came through to the server."""
    client = RpcClient("router", address, token, tls=tls)
    method = RouterServiceStub(client.channel).Reconcile
    try:
        with pytest.raises(RpcError) as caught:
            await client.call(method, ReconcileRequest(), deadline_s=60)
        return caught.value
    finally:
        await client.close()


async def test_rpc_with_tls_checks_the_server_and_still_the_token(
    files: Callable[..., CertificateFiles],
) -> None:
    server, client = files("127.0.0.1"), files("router")
    tls = RpcTls(server.certificate, server)
    async with served(tls) as address:
        assert (await call(address, tls)).code == grpc.StatusCode.UNIMPLEMENTED
        without = RpcTls(server.certificate)  # a client needs no certificate
        assert (await call(address, without)).code == grpc.StatusCode.UNIMPLEMENTED
        assert (await call(address, tls, "guessed")).code == grpc.StatusCode.UNAUTHENTICATED
        for wrong in (None, RpcTls(other_authority(client))):
            with pytest.raises(RpcUnavailable):
                await call(address, wrong)
    async with served(RpcTls(server.certificate, client)) as address:  # of another host
        with pytest.raises(RpcUnavailable):
            await call(address, tls)


async def test_servers_demand_certificates_of_clients(
    files: Callable[..., CertificateFiles],
) -> None:
    server, client = files("127.0.0.1"), files("router")
    async with served(RpcTls(server.certificate, server, verify_clients=True)) as address:
        shows = RpcTls(server.certificate, client, verify_clients=True)
        assert (await call(address, shows)).code == grpc.StatusCode.UNIMPLEMENTED
        for wrong in (RpcTls(server.certificate), None):
            with pytest.raises(RpcUnavailable):
                await call(address, wrong)


async def test_a_server_shows_its_new_certificate(
    files: Callable[..., CertificateFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.tls.CHECK_INTERVAL_S", 0.01)
    server = files("127.0.0.1")
    async with served(RpcTls(server.certificate, server)) as address:
        port = int(address.rpartition(":")[2])
        context = client_context(alpn="h2")
        assert (await asyncio.to_thread(shake_hands, port, context=context)).names == []
        certificate_files(server.key.parent, "router.internal")
        async with asyncio.timeout(60):
            while True:
                found = await asyncio.to_thread(shake_hands, port, context=context)
                if found.names == ["router.internal"]:
                    break


def other_authority(files: CertificateFiles) -> Path:
    """A file with an authority of the same name and another key."""
    return certificate_files(files.key.parent / "other", "router").certificate


CONTRADICTIONS = {
    "a certificate without a key": ({"OBM_RPC_TLS_CERTIFICATE": "a.pem"}, "or neither"),
    "a certificate without an authority": (
        {"OBM_RPC_TLS_CERTIFICATE": "a.pem", "OBM_RPC_TLS_KEY": "b.pem"},
        "OBM_RPC_TLS_CERTIFICATE needs OBM_RPC_TLS_CA",
    ),
    "clients without a certificate": (
        {"OBM_RPC_TLS_CA": "ca.pem", "OBM_RPC_TLS_CLIENTS": "true"},
        "OBM_RPC_TLS_CLIENTS needs OBM_RPC_TLS_CERTIFICATE",
    ),
    "a listener that others reach, without TLS": (
        {"SHIELD_RPC_LISTEN": "0.0.0.0:8034"},
        "not a loopback address, and the listener uses no TLS",
    ),
}


@pytest.mark.parametrize(("given", "problem"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_are_an_error(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "key")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=problem):
        read_settings(ShieldSettings, [])


def test_a_listener_with_tls_may_be_reached_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OBM_SECRET_KEYS", "key")
    monkeypatch.setenv("SHIELD_RPC_LISTEN", "0.0.0.0:8034")
    monkeypatch.setenv("OBM_RPC_TLS_CA", "ca.pem")
    assert read_settings(ShieldSettings, []).rpc_listen == "0.0.0.0:8034"


def test_a_server_without_a_certificate_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="where RPC is served"):
        RpcServer("127.0.0.1:0", "token", RpcTls(tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match=r"Cannot read the files of OBM_RPC_TLS_"):
        RpcClient("router", "127.0.0.1:1", "token", tls=RpcTls(tmp_path / "ca.pem"))
