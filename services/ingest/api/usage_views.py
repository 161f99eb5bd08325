"""Usage and invoices as the JSON of REST; gRPC has its fields."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from contracts.events.v1.events_service_pb2 import UsageRow
from services.ingest.api.rest_base import format_time
from services.ingest.api.usage import DAY, Invoice, MonthlyUsage, evidence_of, resets_at
from services.ingest.domain.invoice import InvoiceLineItem, decimal_text, next_month


def usage_to_json(usage: MonthlyUsage) -> dict[str, Any]:
    quota, limits = (usage.plan.quota, usage.plan.limits) if usage.plan else (None, {})
    total = usage.total
    daily = None
    if usage.is_current:
        daily = _span(
            total.accepted_today, total.sent_today, 0,
            limit=quota.day if quota else None, end=usage.today + timedelta(days=1),
        )  # fmt: skip
    monthly = _span(
        total.accepted, total.sent, total.sent_of_earlier_months,
        limit=quota.month if quota else None, end=next_month(usage.month),
    )  # fmt: skip
    shown: dict[str, Any] = {
        "object": "usage",
        "period": f"{usage.month:%Y-%m}",
        "plan": usage.plan_id or None,
        "emails": {"daily": daily, "monthly": monthly},
        "domains": {"used": usage.domains, "limit": limits.get("domains")},
        "mailboxes": {"used": usage.mailboxes, "limit": limits.get("mailboxes")},
        "rate_limit": {"limit": usage.rate, "duration": "1000ms"},
    }
    if usage.by:
        shown["breakdown"] = parts_to_json(usage)
    return shown


def _span(used: int, sent: int, earlier: int, *, limit: int | None, end: Any) -> dict[str, object]:  # noqa: ANN401
    return {
        "used": used,
        "limit": limit,
        "sent": sent,
        "received": 0,
        "resets_at": format_time(resets_at(end)),
        "sent_of_earlier_months": earlier,
    }


def parts_to_json(usage: MonthlyUsage) -> list[dict[str, object]]:
    if usage.by != DAY:
        return [{"tenant_id": one.key, **_numbers(one)} for one in usage.rows]
    counts = {str(one.day): one for one in usage.days}
    sends: Mapping[str, UsageRow] = {one.key: one for one in usage.rows}
    shown = []
    for day in sorted(sends.keys() | counts.keys()):
        had = counts.get(day)
        resources = {"domains": had.domains, "mailboxes": had.mailboxes} if had else {}
        shown.append({"day": day, **_numbers(sends.get(day) or UsageRow()), **resources})
    return shown


def _numbers(row: UsageRow) -> dict[str, object]:
    return {"accepted": row.accepted, "sent": row.sent}


def invoice_to_json(invoice: Invoice) -> dict[str, Any]:
    usage = invoice.usage
    return {
        "object": "invoice_preview",
        "account_id": usage.owner.account_id,
        "period": f"{usage.month:%Y-%m}",
        "status": "open" if invoice.is_open else "closed",
        "plan": usage.plan_id or None,
        "currency": invoice.currency,
        "lines": [line_to_json(line, invoice) for line in invoice.lines],
        "total": decimal_text(sum(line.cents for line in invoice.lines)),
    }


def line_to_json(line: InvoiceLineItem, invoice: Invoice) -> dict[str, object]:
    usage = invoice.usage
    descriptions = {
        "plan": f"{usage.plan.name if usage.plan else ''}, {usage.month:%B %Y}",
        "sends": "Messages that were sent",
        "domains": "Domains, the most on a day",
        "mailboxes": "Mailboxes, the most on a day",
        "corrections": "Messages of earlier months, counted since they were closed",
    }
    return {
        "item": line.item,
        "description": descriptions[line.item],
        "quantity": line.quantity,
        "included": line.included,
        "billed": line.billed,
        "per": line.per,
        "unit_amount": line.unit_amount,
        "amount": decimal_text(line.cents),
        "evidence": None if line.item == "plan" else evidence_of(line.item, usage),
    }
