"""Checks of the egress hosts, by the scheduler's process: their failures suspend the sources whose
addresses they own, and end the suspensions that failed attempts have begun.

What is found becomes a command to the scheduler, and nothing while it is known already.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from contracts.router.v1.policies_pb2 import PolicyCommand, SourceCheck
from contracts.router.v1.results_pb2 import Results
from kernel import clock
from kernel.errors import Fenced
from kernel.lease import Lease
from kernel.rpc import RpcError, RpcUnavailable
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.policy_events import check_outcome
from services.router.domain.source_checks import SelfCheckFinding, addresses_of, check_egress_host
from services.router.store import directory, results

CHECKED_MAX = 50  # sources in one request, each with at most two addresses

logger = logging.getLogger(__name__)


class HostChecker(Protocol):
    """See clients.egress_hosts."""

    async def check(self, pairs: Sequence[tuple[str, str]]) -> list[str]: ...


class EgressHostLoop:
    """known: the problems of a source's host that the scheduler knows; None if it is not ready."""

    def __init__(
        self,
        lease: Lease,
        checker: HostChecker,
        *,
        known: Callable[[str], Sequence[SelfCheckFinding] | None],
    ) -> None:
        self._lease = lease
        self._checker = checker
        self._known = known

    async def run_once(self) -> None:
        """Check all sources with a host, if this process is the scheduler."""
        if self._lease.fence is None:
            return
        try:
            async with self._lease.transaction() as tx:
                sources = await directory.load_hosted_sources(tx, self._lease.name)
            pages = [sources[n : n + CHECKED_MAX] for n in range(0, len(sources), CHECKED_MAX)]
            for page in pages:
                await self._check(page)
        except Fenced:
            return

    async def _check(self, sources: Sequence[EgressSource]) -> None:
        pairs = [(one, address) for one in sources for address in addresses_of(one)]
        try:
            problems = await self._checker.check([(one.egress_host, at) for one, at in pairs])
        except (RpcError, RpcUnavailable) as error:  # without an answer, nothing changes
            logger.warning("router.egress_hosts.unchecked", extra={"error": str(error)})
            return
        found: dict[str, list[SelfCheckFinding]] = {}
        for (source, address), problem in zip(pairs, problems, strict=True):
            found.setdefault(source.egress_id, []).append(check_egress_host(address, problem))
        now_s = clock.now().timestamp()
        commands = [
            PolicyCommand(source_check=check_of(one, findings, now_s=now_s))
            for one in sources
            if self._is_news(one.egress_id, findings := found[one.egress_id])
        ]
        if commands:
            async with self._lease.transaction() as tx:
                await results.append(tx, Results(commands=commands), self._lease.name)

    def _is_news(self, egress_id: str, findings: Sequence[SelfCheckFinding]) -> bool:
        known = self._known(egress_id)
        return known is not None and set(known) != {one for one in findings if one.problem}


def check_of(
    source: EgressSource, findings: Sequence[SelfCheckFinding], *, now_s: float
) -> SourceCheck:
    return SourceCheck(
        egress_id=source.egress_id,
        checked_at=timestamp(now_s),
        addresses=addresses_of(source),
        outcomes=map(check_outcome, findings),
    )
