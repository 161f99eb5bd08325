"""Pebble, the ACME server for tests by the authors of Let's Encrypt (RFC 8555), on loopback."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context

from cryptography.hazmat.primitives.serialization import Encoding

from kernel.embedded.folder import free_port
from tests.support.authority import Certified
from tests.support.programs import program
from tests.support.tls import certificate_files


@dataclass(frozen=True)
class Pebble:
    """directory: its URL. ca_file: of the authority of its own certificate. issuer_file: of the
    authority whose certificates it issues."""

    directory: str
    ca_file: Path
    issuer_file: Path
    log: Path


@contextmanager
def pebble(
    folder: Path,
    *,
    challenge_port: int,
    name_server: str,
    validity_s: int = 90 * 86_400,
    refused_nonces_percent: int = 5,
    account_keys: Mapping[str, str] | None = None,
) -> Iterator[Pebble]:
    """An authority that sends its challenges to a port of the addresses of name_server, and refuses
    a share of the good nonces, as any authority may. account_keys: if given, accounts must be bound
    by one of these keys, in base64url."""
    folder.mkdir(exist_ok=True)
    root = Certified.root("pebble")
    pair = certificate_files(folder, "localhost", "127.0.0.1", issuer=root)
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    port, management = free_port(), free_port()
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(pair.certificate),
        "privateKey": str(pair.key),
        "httpPort": challenge_port,
        "tlsPort": free_port(),
        "certificateValidityPeriod": validity_s,
        **bindings(account_keys),
    }
    (file := folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    refused = {"PEBBLE_WFE_NONCEREJECT": str(refused_nonces_percent)}
    log = folder / "pebble.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [program("pebble"), "-config", str(file), "-dnsserver", name_server],
            stdout=output, stderr=output, env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", **refused},
        )  # fmt: skip
    try:
        found = folder / "issuer.pem"
        found.write_bytes(_fetch(f"https://127.0.0.1:{management}/roots/0", ca_file, process))
        yield Pebble(f"https://127.0.0.1:{port}/dir", ca_file, found, log)
    finally:
        process.terminate()
        process.wait()


def bindings(account_keys: Mapping[str, str] | None) -> dict[str, object]:
    """The settings of external account binding."""
    if account_keys is None:
        return {}
    return {"externalAccountBindingRequired": True, "externalAccountMACKeys": dict(account_keys)}


def _fetch(url: str, ca_file: Path, process: "subprocess.Popen[bytes]") -> bytes:
    context = create_default_context(cafile=str(ca_file))
    while True:
        assert process.poll() is None, "pebble has ended"
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as response:
                return bytes(response.read())
        except OSError:
            time.sleep(0.05)
