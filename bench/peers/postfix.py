"""A private Debian Postfix that relays to the sink, with its own configuration, queue and port.

/etc/postfix is not read. Postfix syncs queue files before the 250, as always.
"""

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contestant import Contestant
from bench.peers.start import Routes, answers, await_true, require, require_root
from kernel.embedded.folder import free_port

MAIN = """\
compatibility_level = 3.6
config_directory = {root}/config
queue_directory = {root}/queue
data_directory = {root}/data
myhostname = postfix.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
transport_maps = texthash:{root}/config/transport
relay_domains = texthash:{root}/config/transport
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_event_limit_exceptions = static:all
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
alias_maps =
alias_database =
local_recipient_maps =
biff = no
# Nothing slows the intake down for the sake of delivery: the load keeps the backlog in bounds.
in_flow_delay = 0s
default_process_limit = 200
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
default_destination_concurrency_limit = {concurrency}
initial_destination_concurrency = {concurrency}
# Connections to every site are kept and used again.
smtp_connection_cache_destinations = texthash:{root}/config/cached
smtp_connection_cache_on_demand = yes
smtp_connection_cache_time_limit = 10s
smtp_connection_reuse_time_limit = 3600s
connection_cache_ttl_limit = 10s
max_use = 10000
{milter}
"""

MILTER = """\
smtpd_milters = inet:127.0.0.1:{port}
milter_protocol = 6
milter_default_action = tempfail
milter_mail_macros = i {{auth_type}} {{auth_authen}} {{mail_addr}}
"""

MASTER = """\
127.0.0.1:{port} inet n - n - 100 smtpd
pickup    unix  n - n 60  1 pickup
cleanup   unix  n - n -   0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n -   - trivial-rewrite
bounce    unix  - - n -   0 bounce
defer     unix  - - n -   0 bounce
trace     unix  - - n -   0 bounce
verify    unix  - - n -   1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -   - proxymap
smtp      unix  - - n -   - smtp
relay     unix  - - n -   - smtp
showq     unix  n - n -   - showq
error     unix  - - n -   - error
retry     unix  - - n -   - error
discard   unix  - - n -   - discard
local     unix  - n n -   - local
virtual   unix  - n n -   - virtual
lmtp      unix  - - n -   - lmtp
anvil     unix  - - n -   1 anvil
scache    unix  - - n -   1 scache
tlsmgr    unix  - - n 1000? 1 tlsmgr
postlog   unix-dgram n - n - 1 postlogd
"""

# On two cores with 24 sites, 2 to 20 connections per site make no measurable difference.
SITE_CONCURRENCY = 5


@contextmanager
def postfix(root: Path, routes: Routes, milter_port: int = 0) -> Iterator[Contestant]:
    """A running Postfix under `root`, which must be accessible to its user."""
    command = require("postfix", "postfix")
    require_root("Postfix")
    port = free_port()
    prepare(root, routes, port=port, milter_port=milter_port)
    control = [command, "-c", str(root / "config")]
    run([*control, "start"])
    try:
        await_true("Postfix listening", lambda: answers(port))
        master = int((root / "queue/pid/master.pid").read_text())
        yield Contestant("postfix", "smtp", port, {"postfix": master})
    finally:
        run([*control, "stop"])


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout}")


def prepare(root: Path, routes: Routes, *, port: int, milter_port: int) -> None:
    """Write the configuration and create the folders that Postfix expects."""
    for name in ("config", "queue", "data"):
        (root / name).mkdir(parents=True)
    owner, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postfix").gr_gid
    os.chown(root / "data", owner, group)
    root.chmod(0o755)
    milter = MILTER.format(port=milter_port) if milter_port else ""
    config = root / "config"
    (config / "main.cf").write_text(
        MAIN.format(root=root, concurrency=SITE_CONCURRENCY, milter=milter)
    )
    (config / "master.cf").write_text(MASTER.format(port=port))
    (config / "transport").write_text(transport(routes))
    (config / "cached").write_text(cached_destinations(routes))


def transport(routes: Routes) -> str:
    lines = (f"{domain} smtp:[{address}]:{port}" for domain, (address, port) in routes.items())
    return "\n".join(lines) + "\n"


def cached_destinations(routes: Routes) -> str:
    """Destinations with cached connections: next hops, without brackets and port."""
    return "".join(f"{address} yes\n" for address, _ in routes.values())
