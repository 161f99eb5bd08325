"""The audit log: who changed which entry of the directory, and how. Without secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeAlias

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kernel import times
from kernel.database import Transaction
from kernel.ids import uuid7_text

RETENTION = timedelta(days=400)
UNLOGGED = {"version", "deleted"}
INSERT = """
INSERT INTO ingest.audit_log
    (id, account_id, tenant_id, action, resource, resource_id, before, after,
     actor_kind, actor_id, request_id, client)
SELECT id, nullif(account_id, '')::uuid, nullif(tenant_id, '')::uuid, action, resource, resource_id,
    before::jsonb, after::jsonb, %s, %s, %s, %s
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::text[],
        %s::text[])
    AS change (id, account_id, tenant_id, action, resource, resource_id, before, after)
"""
EXPIRE = """
DELETE FROM ingest.audit_log WHERE id = ANY(ARRAY(
    SELECT id FROM ingest.audit_log WHERE id < %s ORDER BY id LIMIT %s))
"""


@dataclass(frozen=True, slots=True)
class AuditActor:
    """Who acts. kind: operator, account, tenant or command. id: of the key, or the user's name."""

    kind: str
    id: str
    request_id: str = ""
    client: str = ""


def visible_fields(entry: Message | None) -> dict[str, Any] | None:
    """The fields of an entry that may be shown: in the directory all secrets are bytes, and nothing
    else is."""
    if entry is None:
        return None
    shown = type(entry)()
    shown.CopyFrom(entry)
    for field in entry.DESCRIPTOR.fields:
        if field.type == FieldDescriptor.TYPE_BYTES or field.name in UNLOGGED:
            shown.ClearField(field.name)
    for _, value in shown.ListFields():
        if isinstance(value, Timestamp):  # also one that `obm` has set beyond the year 9999
            value.FromDatetime(times.clamp_timestamp(value))
    return MessageToDict(shown, preserving_proto_field_name=True)


def default_action(before: Any, after: Any) -> str:  # noqa: ANN401 - any entry, or None
    if is_deletion(after):
        return "delete"
    return "create" if before is None else "update"


def is_deletion(after: Any) -> bool:  # noqa: ANN401 - any entry, or None
    return after is None or getattr(after, "deleted", False)


class AuditSubject(NamedTuple):
    """What is changed. resource: the name of its kind. account_id, tenant_id: whose it is, if the
    entries do not say so."""

    resource: str
    id: str
    account_id: str = ""
    tenant_id: str = ""


Change: TypeAlias = tuple[AuditSubject, Any, Any]
"""What is changed, and the entry before and after, or None."""


async def record_changes(
    tx: Transaction, actor: AuditActor, changes: Sequence[Change], *, action: str = ""
) -> None:
    """Add an entry for each in the transaction of the changes. action: by default create, update or
    delete."""
    columns = zip(*(_row(*one, action=action) for one in changes), strict=True)
    await tx.execute(
        INSERT, (actor.kind, actor.id, actor.request_id, actor.client, *map(list, columns))
    )


def _row(subject: AuditSubject, before: Any, after: Any, *, action: str) -> tuple[str | None, ...]:  # noqa: ANN401 - any entry
    shown = [visible_fields(before), None if is_deletion(after) else visible_fields(after)]
    return (
        uuid7_text(),
        subject.account_id or getattr(after, "account_id", ""),
        subject.tenant_id or getattr(after, "tenant_id", ""),
        f"{subject.resource}.{action or default_action(before, after)}",
        subject.resource,
        subject.id,
        *(None if one is None else msgspec.json.encode(one).decode() for one in shown),
    )
