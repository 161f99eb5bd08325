"""Mail to accounts about disabled webhook endpoints, and of their reports, if the operator has a
sender for it."""

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from kernel.addresses import AddressResolver
from kernel.database import Database
from kernel.dial import Dialer
from services.events.clients.brands import TenantBrands
from services.events.clients.notice_sender import NoticeSender
from services.events.loops.reports import ReportMailer
from services.events.loops.webhook_notices import DisabledEndpointNotifier
from services.events.settings import Settings


class NoticeComponents(NamedTuple):
    loop: DisabledEndpointNotifier
    reports: ReportMailer
    close: Callable[[], Coroutine[Any, Any, None]]


def create_notices(
    settings: Settings, database: Database, directory: TenantBrands
) -> NoticeComponents | None:
    """None without a sender."""
    if not settings.notice_from:
        return None
    dialer = Dialer(AddressResolver(lambda *_: True))
    sender = NoticeSender(dialer, settings.api_url, settings.api_key, sender=settings.notice_from)
    return NoticeComponents(
        DisabledEndpointNotifier(database, sender, directory=directory),
        ReportMailer(database, sender, directory),
        sender.close,
    )
