"""Connections through egress hosts: the machines that own the addresses of some egress sources.

A host that fails is told apart from a receiving server that does. The SOCKS reply does it while a
connection is opened; when one breaks or nothing answers, a new login to the host decides. So a
stranger whose server is silent never makes a host look failed.
"""

import asyncio
import logging
import ssl
from asyncio.staggered import staggered_race
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from kernel import clock, metrics
from kernel.bounded_dict import BoundedDict
from kernel.settings import split_address
from kernel.socks5 import client
from kernel.socks5.client import NoReplyInTime, ServerFailed, Socks5Login, Tunnel
from kernel.socks5.messages import AuthStatus
from services.delivery.clients.smtp.dial_target import SocketAddress
from services.delivery.domain.attempt_result import AttemptResult
from services.delivery.domain.egress_host import ADDRESS, TOKEN, UNREACHABLE, host_failure

HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 §5
FAILED_S = 1.0  # after a failure, a host is not tried again for this long
HOSTS_MAX = 10_000
PROBLEMS = {AuthStatus.WRONG_TOKEN: TOKEN, AuthStatus.WRONG_ADDRESS: ADDRESS}

logger = logging.getLogger(__name__)


class EgressHostFailed(Exception):
    """An egress host failed, or refuses us. problem: see domain.egress_host."""

    def __init__(self, problem: str, result: AttemptResult) -> None:
        super().__init__(result.problem)
        self.problem = problem
        self.result = result


@dataclass(frozen=True, slots=True)
class TunneledConnection:
    """A connection to a destination, and the address that it comes from."""

    tunnel: Tunnel
    source: str
    destination: str


class EgressHostDialer:
    """token: empty if there is none. tls: None for clear text. timeout_s: for a login."""

    def __init__(self, token: str, tls: ssl.SSLContext | None, *, timeout_s: float = 10.0) -> None:
        self._token = token
        self._tls = tls
        self._timeout_s = timeout_s
        self._failed: BoundedDict[tuple[str, str], tuple[float, EgressHostFailed]] = BoundedDict(
            HOSTS_MAX
        )

    async def open(
        self,
        host: str,
        sources: Sequence[str],
        destinations: Sequence[SocketAddress],
        *,
        timeout_s: float,
    ) -> TunneledConnection:
        """Connect to one of the destinations, from the source of its family. The second is tried in
        parallel if the first does not connect soon (RFC 8305). timeout_s: for a destination.

        Raises EgressHostFailed, and OSError if the destinations failed.
        """
        attempts = [
            partial(self._open, host, source, destination, timeout_s=timeout_s)
            for destination in destinations
            for source in sources
            if ip_address(source).version == ip_address(destination[0]).version
        ]
        if len(attempts) == 1:
            return await attempts[0]()
        opened, _, errors = await staggered_race(attempts, HAPPY_EYEBALLS_DELAY_S)
        if isinstance(opened, TunneledConnection):
            return opened
        failures = [one for one in errors if one is not None]
        raise next(
            (one for one in failures if isinstance(one, EgressHostFailed)),
            next(iter(failures), OSError("no source of the family of the destination")),
        )

    async def _open(
        self, host: str, source: str, destination: SocketAddress, *, timeout_s: float
    ) -> TunneledConnection:
        if (failed := self._failed.get((host, source))) and failed[0] > clock.monotonic_s():
            raise failed[1]
        tunnel = await self._log_in(host, source)
        address, port = destination
        try:
            local = await client.connect(tunnel, address, port, timeout_s=timeout_s)
        except NoReplyInTime as error:
            (await self._log_in(host, source)).transport.abort()
            raise OSError(str(error)) from error
        except ServerFailed as error:
            raise self._record_failure(host, source, error) from error
        return TunneledConnection(tunnel, local or source, address)

    async def _log_in(self, host: str, source: str) -> Tunnel:
        """Raises EgressHostFailed."""
        name, port = split_address(host)
        try:
            if not self._token:
                raise ServerFailed("delivery has no OBM_EGRESS_TOKENS", AuthStatus.WRONG_TOKEN)
            login = Socks5Login(name, int(port or 0), source, self._token, self._tls)
            tunnel = await client.log_in(login, timeout_s=self._timeout_s)
        except ServerFailed as error:
            raise self._record_failure(host, source, error) from error
        self._failed.pop((host, source), None)
        return tunnel

    def _record_failure(self, host: str, source: str, error: ServerFailed) -> EgressHostFailed:
        problem = PROBLEMS.get(error.status, UNREACHABLE)
        metrics.egress_host_failures.labels(problem).inc()
        extra = {"egress_host": host, "source_ip": source, "problem": problem, "error": str(error)}
        logger.warning("delivery.egress_host_failed", extra=extra)
        failed = EgressHostFailed(problem, host_failure(source, problem))
        self._failed[host, source] = (clock.monotonic_s() + FAILED_S, failed)
        return failed

    async def check(self, host: str, source: str) -> str:
        """The problem of connecting from this address now; empty if there is none."""
        try:
            tunnel = await self._log_in(host, source)
        except EgressHostFailed as failed:
            return failed.problem
        tunnel.transport.abort()
        return ""

    async def check_all(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """The problem of each host and address."""
        return await asyncio.gather(*(self.check(*pair) for pair in pairs))

    async def confirm(
        self, result: AttemptResult, *, host: str, sources: Sequence[str]
    ) -> AttemptResult:
        """The result of a connection that broke; that of the host, if it is gone."""
        for source in sources:
            try:
                (await self._log_in(host, source)).transport.abort()
            except EgressHostFailed as failed:
                return failed.result
        return result
