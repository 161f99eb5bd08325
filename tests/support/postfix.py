"""Debian's Postfix, independent of /etc/postfix."""

import grp
import os
import pwd
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kernel.embedded.folder import free_port
from tests.support.programs import program
from tests.support.smtp_peer import certificate

MAIN = """\
compatibility_level = 3.6
config_directory = {root}/config
queue_directory = {root}/queue
data_directory = {root}/data
myhostname = mx.receiver.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
biff = no
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_chain_files = {root}/config/pair.pem
virtual_mailbox_domains = receiver.example
virtual_mailbox_maps = static:inbox/
virtual_mailbox_base = {root}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
maillog_file = {root}/log
maillog_file_prefixes = {root}
"""

MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup   unix  n - n -   0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n -   - trivial-rewrite
bounce    unix  - - n -   0 bounce
defer     unix  - - n -   0 bounce
virtual   unix  - n n -   - virtual
anvil     unix  - - n -   1 anvil
tlsmgr    unix  - - n 1000? 1 tlsmgr
proxymap  unix  - - n -   - proxymap
postlog   unix-dgram n - n - 1 postlogd
"""


@contextmanager
def postfix(
    *, relay: str = "permit_mynetworks, reject", settings: str = "", services: str = ""
) -> Iterator[tuple[int, Path]]:
    """A Postfix independent of /etc/postfix: its port, and the Maildir of all recipients. settings,
    services: more lines of main.cf and master.cf."""
    command = program("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix only starts as root")
    # Outside of pytest's folder, which Postfix's users cannot access.
    with (
        tempfile.TemporaryDirectory(prefix="obm-postfix-") as folder,
        started(
            command,
            Path(folder),
            settings=f"smtpd_relay_restrictions = {relay}\n{settings}",
            services=services,
        ) as found,
    ):
        yield found


@contextmanager
def started(
    command: str, root: Path, *, settings: str, services: str
) -> Iterator[tuple[int, Path]]:
    port = free_port()
    configure(root, port=port, settings=settings, services=services)
    control = [command, "-c", str(root / "config")]
    subprocess.run([*control, "start"], check=True, capture_output=True)
    try:
        await_port(port)
        yield port, root / "mail/inbox"
    finally:
        subprocess.run([*control, "stop"], check=True, capture_output=True)


def configure(root: Path, *, port: int, settings: str, services: str) -> None:
    root.chmod(0o755)
    for name in ("config", "queue", "data", "mail"):
        (root / name).mkdir()
    owner, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
    os.chown(root / "data", owner.pw_uid, grp.getgrnam("postfix").gr_gid)
    os.chown(root / "mail", nobody.pw_uid, nobody.pw_gid)
    main = MAIN.format(root=root, uid=nobody.pw_uid, gid=nobody.pw_gid)
    (root / "config/main.cf").write_text(main + settings)
    (root / "config/master.cf").write_text(MASTER.format(port=port) + services)
    (root / "config/pair.pem").write_bytes(certificate())


def await_port(port: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"nobody listens on port {port}")


def wait_for_files(folder: Path) -> list[Path]:
    """The files of a folder, once it has some."""
    until = time.monotonic() + 120
    while not (folder.is_dir() and any(folder.iterdir())) and time.monotonic() < until:
        time.sleep(0.05)
    return sorted(folder.iterdir())
