"""`obm egress-host` as a process, which can be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from kernel.embedded.folder import free_port
from kernel.tls import CertificateFiles
from tests.support.socks5 import TOKEN


class EgressHostProcess:
    """It owns the loopback addresses, and lets mail leave to any port of loopback."""

    def __init__(self, folder: Path, files: CertificateFiles, *, ports: str) -> None:
        self.port, self.health_port = free_port(), free_port()
        self.address = f"localhost:{self.port}"
        self.log = folder / "egress-host.log"
        self.environment: Mapping[str, str] = {
            **os.environ,
            "OBM_EGRESS_TOKENS": TOKEN,
            "EGRESS_HOST_SOCKS_LISTEN": f"127.0.0.1:{self.port}",
            "EGRESS_HOST_HEALTH_LISTEN": f"127.0.0.1:{self.health_port}",
            "EGRESS_HOST_TLS_CERTIFICATE": str(files.certificate),
            "EGRESS_HOST_TLS_KEY": str(files.key),
            "EGRESS_HOST_ALLOWED_NETWORKS": "127.0.0.0/8",
            "EGRESS_HOST_PORTS": ports,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli", "egress-host"],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        while not await asyncio.to_thread(self.is_ready):
            assert self._process.poll() is None, self.log.read_text()
            await asyncio.sleep(0.05)

    def is_ready(self) -> bool:
        return bool(self.get("/ready"))

    def get(self, path: str) -> str:
        """Empty if it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.health_port}{path}", timeout=10
            ) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    def end(self, signum: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(signum)
            self._process.wait()
