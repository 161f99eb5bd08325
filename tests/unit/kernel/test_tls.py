"""Certificates: by host name, and read again when their files change."""

import asyncio
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernel import tls
from kernel.errors import ConfigError
from kernel.tls import CertificateFiles, Certificates, PemPair, server_name
from tests.support.tls import certificate_files, client_context

VERSION_12, VERSION_13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@contextmanager
def two_brands(folder: Path) -> Iterator[tuple[Certificates, Mapping[str, CertificateFiles]]]:
    files = {
        host: certificate_files(folder / (host or "default"), host or "api.default.test")
        for host in ("", "api.acme.test", "smtp.acme.test")
    }
    yield Certificates(files[""], {host: one for host, one in files.items() if host}), files


def handshake(
    server: ssl.SSLContext, host: str | None, client: ssl.SSLContext | None = None
) -> tuple[bytes, ssl.SSLObject, ssl.SSLObject]:
    """In memory: the certificate, and both sides. Raises ssl.SSLError."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = (client or client_context()).wrap_bio(down, up, server_hostname=host)
    waiting = [theirs, ours]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    return theirs.getpeercert(binary_form=True) or b"", ours, theirs


def der(files: CertificateFiles) -> bytes:
    pem = files.certificate.read_text()
    end = "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(pem[: pem.index(end) + len(end)])


@pytest.mark.parametrize(
    ("named", "served"),
    [
        ("api.acme.test", "api.acme.test"),
        ("API.acme.test", "api.acme.test"),
        ("smtp.acme.test", "smtp.acme.test"),
        ("acme.test", ""),
        (None, ""),
    ],
)
def test_a_client_gets_the_certificate_of_the_host_that_it_names(
    tmp_path: Path, named: str | None, served: str
) -> None:
    with two_brands(tmp_path) as (certificates, files):
        found, connection, _ = handshake(certificates.context(), named)
        assert found == der(files[served])
        assert server_name(connection) == (named or "").lower()


@pytest.mark.parametrize("host", ["api.acme.test", None])
def test_version_and_protocol_are_those_of_the_listener(tmp_path: Path, host: str | None) -> None:
    with two_brands(tmp_path) as (certificates, _):
        http = certificates.context(VERSION_13, alpn=["http/1.1"])
        smtp = certificates.context()
        _, connection, _ = handshake(http, host)
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() == "http/1.1"
        with pytest.raises(ssl.SSLError):
            handshake(http, host, client_context(maximum=VERSION_12))
        _, connection, _ = handshake(smtp, host, client_context(maximum=VERSION_12))
        assert connection.version() == "TLSv1.2"
        assert connection.selected_alpn_protocol() is None


def test_a_replaced_certificate_is_served_by_every_context(tmp_path: Path) -> None:
    with two_brands(tmp_path) as (certificates, files):
        contexts = [certificates.context(VERSION_13, alpn=["http/1.1"]), certificates.context()]
        before, pairs = der(files["api.acme.test"]), certificates.pem_pairs
        certificate_files(tmp_path / "api.acme.test", "api.acme.test")
        certificates.reload()
        for context in contexts:
            found = handshake(context, "api.acme.test")[0]
            assert before != found == der(files["api.acme.test"])
        assert handshake(contexts[0], None)[0] == der(files[""])
        assert handshake(contexts[0], "api.acme.test")[1].selected_alpn_protocol() == "http/1.1"
        assert len(certificates.pem_pairs) == 3
        assert certificates.pem_pairs[0] == pairs[0]
        assert certificates.pem_pairs[1] != pairs[1]


def test_a_pair_that_does_not_fit_together_is_not_served(tmp_path: Path) -> None:
    with two_brands(tmp_path) as (certificates, files):
        context, pairs = certificates.context(), certificates.pem_pairs
        before = files[""].key.read_bytes()
        files[""].key.write_bytes(files["api.acme.test"].key.read_bytes())
        certificates.reload()
        assert handshake(context, None)[0] == der(files[""])
        files[""].key.unlink()
        certificates.reload()
        assert certificates.pem_pairs is pairs
        files[""].key.write_bytes(before)
        certificates.reload()
        assert handshake(context, None)[0] == der(files[""])


async def test_files_are_read_again_while_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.tls.CHECK_INTERVAL_S", 0.01)
    with two_brands(tmp_path) as (certificates, files):
        context = certificates.context()
        watch = asyncio.create_task(certificates.watch())
        certificate_files(tmp_path / "default", "api.default.test")
        async with asyncio.timeout(30):
            while handshake(context, None)[0] != der(files[""]):
                await asyncio.sleep(0.01)
        watch.cancel()


@pytest.mark.parametrize("broken", ["certificate", "key"])
def test_a_missing_file_is_a_config_error_that_names_it(tmp_path: Path, broken: str) -> None:
    with two_brands(tmp_path) as (_, files):
        getattr(files["api.acme.test"], broken).unlink()
        with pytest.raises(ConfigError, match=r"api\.acme\.test.*certificate\.pem"):
            Certificates(files[""], {"api.acme.test": files["api.acme.test"]})


def test_connections_that_end_are_forgotten(tmp_path: Path) -> None:
    with two_brands(tmp_path) as (certificates, _):
        _, connection, _ = handshake(certificates.context(), "api.acme.test")
        assert server_name(connection)
        assert server_name(None) == ""


def pair_of(files: CertificateFiles) -> PemPair:
    return PemPair(files.key.read_bytes(), files.certificate.read_bytes())


def test_a_host_without_a_file_has_the_pair_that_is_found_now(tmp_path: Path) -> None:
    default, first, second = (
        certificate_files(tmp_path / name, name) for name in ("default.test", "a.test", "b.test")
    )
    pairs: dict[str, PemPair] = {}
    context = Certificates(default, find=pairs.get).context(VERSION_12)
    assert handshake(context, "links.test")[0] == der(default)
    for files in (first, second, second):
        pairs["links.test"] = pair_of(files)
        found, ours, _ = handshake(context, "LINKS.test")
        assert (found, ours.version()) == (der(files), "TLSv1.3")
    del pairs["links.test"]
    assert handshake(context, "links.test")[0] == der(default)


def test_a_found_pair_that_is_unusable_does_not_break_the_listener(tmp_path: Path) -> None:
    default, other = (
        certificate_files(tmp_path / name, name) for name in ("default.test", "a.test")
    )
    mixed = PemPair(default.key.read_bytes(), other.certificate.read_bytes())

    def find(host: str) -> PemPair | None:
        if host == "sealed.test":
            raise ConfigError("its key is gone")
        return {"mixed.test": mixed, "empty.test": PemPair(b"", b"")}.get(host)

    context = Certificates(default, find=find).context(VERSION_12)
    for host in ("sealed.test", "mixed.test", "empty.test", "unknown.test"):
        assert handshake(context, host)[0] == der(default)


def test_a_listener_keeps_a_bounded_number_of_found_contexts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "FOUND_MAX", 2)
    monkeypatch.delattr(os, "memfd_create", raising=False)  # as on other systems
    default, other = (
        certificate_files(tmp_path / name, name) for name in ("default.test", "a.test")
    )
    found = Certificates(default, find=lambda _: pair_of(other))
    context = found.context(VERSION_12)
    for number in range(5):
        assert handshake(context, f"host{number}.test")[0] == der(other)
    [listener] = found._listeners
    assert [*listener._found] == ["host3.test", "host4.test"]
