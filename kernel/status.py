"""What a process says of itself, for the health checks: its keys, its clock, its partitions, and
the settings that it lacks."""

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from contracts.kernel.v1 import status_service_pb2 as pb
from contracts.kernel.v1.status_service_pb2_grpc import (
    StatusServiceServicer,
    add_StatusServiceServicer_to_server,
)
from kernel.clock_check import clock_ahead_s
from kernel.crypto import derived_key
from kernel.database import Database, Transaction
from kernel.days import DAYS_AHEAD
from kernel.rpc import Context, RpcServer, map_errors
from kernel.rpc_tls import RpcTls
from kernel.settings import Settings

KEY_ID_LENGTH = 12


class StatusSource(NamedTuple):
    """ahead: tables whose day partitions are created ahead of time. missing_settings: names."""

    secret_keys: Sequence[str]
    database: Database | None = None
    schema: LiteralString = ""
    ahead: Sequence[str] = ()
    missing_settings: Sequence[str] = ()

    async def read(self) -> pb.GetStatusResponse:
        """Raises Unavailable."""
        status = pb.GetStatusResponse(
            key_ids=map(key_id, self.secret_keys), missing_settings=self.missing_settings
        )
        if self.database is None:
            return status
        async with self.database.transaction() as tx:
            status.clock_ahead_s = await clock_ahead_s(tx)
            if self.ahead:
                status.missing_partitions.extend(await self._missing_partitions(tx))
        return status

    async def _missing_partitions(self, tx: Transaction) -> list[str]:
        """The first of each table, today or later. The last of those that are created ahead may be
        missing for an interval of their creation, after midnight."""
        rows = await tx.rows(
            "SELECT parent || to_char(min(day), '_YYYYMMDD') FROM unnest(%s::text[]) AS parent,"  # noqa: S608
            " generate_series(0, %s) AS n, LATERAL (SELECT (now() AT TIME ZONE 'UTC')::date + n)"
            f" AS coming (day) WHERE day NOT IN (SELECT {self.schema}.day_partitions(parent))"
            " GROUP BY parent ORDER BY parent",
            (list(self.ahead), DAYS_AHEAD - 1),
        )
        return [name for (name,) in rows]


def key_id(secret_key: str) -> str:
    """The same for equal keys; it does not tell the key."""
    return derived_key(secret_key, "key id").hex()[:KEY_ID_LENGTH]


class StatusServicer(StatusServiceServicer):
    def __init__(self, source: StatusSource) -> None:
        self._source = source

    @map_errors
    async def GetStatus(self, _: pb.GetStatusRequest, __: Context) -> pb.GetStatusResponse:
        return await self._source.read()


def serve_status(server: RpcServer, source: StatusSource) -> None:
    add_StatusServiceServicer_to_server(StatusServicer(source), server.grpc)


def create_rpc_server(
    settings: Settings,
    listen: str,
    database: Database | None = None,
    *,
    schema: LiteralString = "",
    ahead: Sequence[str] = (),
) -> RpcServer:
    """The server of a service's RPCs, with its status. Raises ConfigError."""
    server = RpcServer(listen, settings.rpc_token, RpcTls.from_settings(settings))
    source = StatusSource(settings.secret_keys, database, schema, ahead, settings.missing)
    serve_status(server, source)
    return server
