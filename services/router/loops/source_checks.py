"""Self-checks of the egress sources, by the scheduler's process.

What is found becomes a command to the scheduler, which alone changes states and publishes events.
"""

import asyncio
from collections.abc import Sequence

from contracts.router.v1.policies_pb2 import PolicyCommand, SourceCheck
from contracts.router.v1.results_pb2 import Results
from kernel import clock
from kernel.errors import Fenced
from kernel.lease import Lease
from services.router.clients.source_dns import SourceDnsChecker, SourceFindings
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.policy_events import check_outcome
from services.router.domain.source_checks import addresses_of
from services.router.loops.check_schedule import CheckSchedule
from services.router.store import directory, results

CHECKED_MAX = 100  # sources in one run
CONCURRENT_MAX = 10
RETRY_S = 300.0  # with a problem, or without an answer, so that a correction is soon noticed

Checked = tuple[str, str, str, str]  # id, addresses and EHLO name: what the result depends on


class SourceCheckLoop:
    """interval_s: between two checks of a source. A new scheduler checks all of them."""

    def __init__(self, lease: Lease, source_dns: SourceDnsChecker, *, interval_s: float) -> None:
        self._lease = lease
        self._dns = source_dns
        self._interval_s = interval_s
        self._fence: int | None = None
        self._schedule: CheckSchedule[Checked] = CheckSchedule()

    async def run_once(self) -> None:
        """Check the sources that are due, if this process is the scheduler."""
        if self._fence != self._lease.fence:
            self._fence = self._lease.fence
            self._schedule.clear()
        if self._fence is None:
            return
        try:
            async with self._lease.transaction() as tx:
                sources = await directory.load_cell_sources(tx, self._lease.name)
            if due := self._select_due(sources):
                findings = await self._check(due)
                await self._save(due, findings)
        except Fenced:
            return

    def _select_due(self, sources: Sequence[EgressSource]) -> list[EgressSource]:
        known = {key_of(one): one for one in sources if addresses_of(one)}
        return [known[key] for key in self._schedule.select(known, CHECKED_MAX)]

    async def _check(self, due: Sequence[EgressSource]) -> list[SourceFindings]:
        limit = asyncio.Semaphore(CONCURRENT_MAX)

        async def check(source: EgressSource) -> SourceFindings:
            async with limit:
                return await self._dns.check(source)

        return await asyncio.gather(*map(check, due))

    async def _save(self, due: Sequence[EgressSource], findings: Sequence[SourceFindings]) -> None:
        now_s = clock.now().timestamp()
        pairs = list(zip(due, findings, strict=True))
        commands = [PolicyCommand(source_check=check_of(*pair, now_s=now_s)) for pair in pairs]
        async with self._lease.transaction() as tx:
            await results.append(tx, Results(commands=commands), self._lease.name)
        for source, found in pairs:
            is_good = found.is_complete and not any(one.problem for one in found.findings)
            wait_s = self._interval_s if is_good else min(self._interval_s, RETRY_S)
            self._schedule.put_off(key_of(source), wait_s)


def key_of(source: EgressSource) -> Checked:
    return source.egress_id, source.source_ip, source.source_ipv6, source.ehlo


def check_of(source: EgressSource, found: SourceFindings, *, now_s: float) -> SourceCheck:
    return SourceCheck(
        egress_id=source.egress_id,
        checked_at=timestamp(now_s),
        addresses=addresses_of(source),
        outcomes=map(check_outcome, found.findings),
        is_complete=found.is_complete,
    )
