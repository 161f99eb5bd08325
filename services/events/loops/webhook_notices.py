"""Mail to the owner of a webhook endpoint that was disabled, to the address of the account."""

import logging

from kernel import clock
from kernel.database import Database
from kernel.failpoint import failpoint
from services.events.clients.account_mail_sender import AccountMailSender
from services.events.clients.brands import TenantBrands
from services.events.domain.webhook_notice import DisabledEndpoint
from services.events.store import webhook_notices

CLAIMED_MAX = 10
RETRY_S, GIVE_UP_S = 60.0, 86_400.0

logger = logging.getLogger(__name__)


class DisabledEndpointNotifier:
    """The action of a loop; any number of replicas may run it at once. A notice is sent, then
    finished: after a crash between them it is sent again, with the same key, which the API knows
    for longer than it is tried."""

    def __init__(
        self, database: Database, sender: AccountMailSender, *, directory: TenantBrands
    ) -> None:
        self._database = database
        self._sender = sender
        self._directory = directory

    async def run_once(self) -> None:
        async with self._database.transaction() as tx:
            claimed = await webhook_notices.claim_due(tx, limit=CLAIMED_MAX, retry_s=RETRY_S)
        for endpoint in claimed:
            to = await self._directory.billing_email_of(
                endpoint.owner_id, account_wide=endpoint.account_wide
            )
            sent = bool(to) and await self._send(endpoint, to)
            failpoint("events.webhook.noticed")
            age_s = (clock.now() - endpoint.disabled_at).total_seconds()
            if sent or not to or age_s > GIVE_UP_S:
                async with self._database.transaction() as tx:
                    await webhook_notices.finish(tx, endpoint, sent=sent)

    async def _send(self, endpoint: DisabledEndpoint, to: str) -> bool:
        try:
            await self._sender.send(endpoint, to=to)
        except (OSError, ValueError, TimeoutError) as error:
            extra = {"endpoint_id": endpoint.id, "error": repr(error)}
            logger.warning("webhook.notice.failed", extra=extra)
            return False
        return True
