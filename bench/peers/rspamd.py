"""A private rspamd as Postfix's milter: its stock rules scan, its dkim_signing signs with RSA-2048.

Everything that uses the network is off, because it would time out in a loopback bench.
"""

import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench.contestant import Contestant
from bench.messages import SENDER_DOMAIN
from bench.peers.postfix import postfix
from bench.peers.start import Routes, answers, await_true, require, require_root
from kernel.embedded.folder import free_port

USER = "_rspamd"
SELECTOR = "bench"
# Each would query DNS, a feed or Redis for every message.
ON_NETWORK = (
    "antivirus arc asn bimi dcc dkim dmarc elastic external_services fuzzy_check greylist "
    "history_redis hfilter mx_check neural p0f phishing ratelimit rbl replies reputation spf surbl "
    "url_redirector clickhouse bayes_expiry aws_s3 rspamd_update"
)
PROXIES = 2  # one per core; each scans by itself


@dataclass(frozen=True, slots=True)
class Milter:
    port: int
    pid: int
    dns: dict[str, str]


@contextmanager
def postfix_rspamd(root: Path, routes: Routes) -> Iterator[Contestant]:
    """Postfix whose mail rspamd scans and signs before it is queued."""
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o755)
    with rspamd(root / "rspamd") as milter, postfix(root / "postfix", routes, milter.port) as relay:
        processes = dict(relay.processes) | {"rspamd": milter.pid}
        yield replace(relay, name="postfix-rspamd", processes=processes, dns=milter.dns)


@contextmanager
def rspamd(root: Path) -> Iterator[Milter]:
    program = require("rspamd", "rspamd")
    require_root("rspamd")
    port = free_port()
    record = prepare(root, port)
    places = {
        "LOCAL_CONFDIR": root / "config",
        "DBDIR": root / "data",
        "RUNDIR": root / "data",
        "LOGDIR": root / "data",
    }
    variables = [f"--var={name}={path}" for name, path in places.items()]
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "--no-fork", "--user", USER, "--group", USER, *variables],
            stdout=output,
            stderr=output,
        )
    try:
        await_true("rspamd listening", lambda: answers(port) or process.poll() is not None)
        if process.poll() is not None:
            raise RuntimeError(f"rspamd did not start: {(root / 'output').read_text()[-2000:]}")
        yield Milter(port, process.pid, {f"{SELECTOR}._domainkey.{SENDER_DOMAIN}.": record})
    finally:
        process.terminate()
        process.wait(30)


def prepare(root: Path, port: int) -> str:
    """Write the local configuration and a new signing key. Returns the key's DNS record."""
    local = root / "config/local.d"
    for folder in (local, root / "config/override.d", root / "data", root / "keys"):
        folder.mkdir(parents=True)
    key_path = root / "keys" / f"{SENDER_DOMAIN}.key"
    record = write_key(key_path)
    for name, text in files(port, key_path).items():
        (local / name).write_text(text)
    user = pwd.getpwnam(USER)
    subprocess.run(["chown", "-R", f"{user.pw_uid}:{user.pw_gid}", str(root)], check=True)
    root.chmod(0o755)
    return record


def files(port: int, key_path: Path) -> dict[str, str]:
    """local.d: name → text."""
    off = {f"{name}.conf": "enabled = false;\n" for name in ON_NETWORK.split()}
    return off | {
        "worker-normal.inc": "count = -1;\nenabled = false;\n",
        "worker-controller.inc": "count = -1;\nenabled = false;\n",
        "worker-proxy.inc": (
            f'bind_socket = "127.0.0.1:{port}";\nmilter = yes;\ncount = {PROXIES};\n'
            'upstream "local" { default = yes; self_scan = yes; }\n'
        ),
        # A resolver that refuses at once, so that remaining queries do not wait.
        "options.inc": (
            'filters = "chartable,dkim,regexp";\n'
            'dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }\n'
        ),
        "logging.inc": 'level = "warning";\n',
        # The verdict is computed and added to the message, but nothing is refused.
        "actions.conf": "reject = null;\nadd_header = null;\ngreylist = null;\n",
        "milter_headers.conf": 'use = ["x-spamd-result", "authentication-results"];\n',
        "dkim_signing.conf": (
            "enabled = true;\nsign_local = true;\nallow_username_mismatch = true;\n"
            "check_pubkey = false;\nuse_esld = false;\n"
            f'domain {{ {SENDER_DOMAIN} {{ path = "{key_path}"; selector = "{SELECTOR}"; }} }}\n'
        ),
    }


def write_key(path: Path) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "v=DKIM1; k=rsa; p=" + "".join(public.decode().splitlines()[1:-1])
