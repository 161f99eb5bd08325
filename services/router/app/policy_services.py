"""The RPC services by which operators see and change what limits mail."""

from contracts.router.v1.egress_service_pb2_grpc import add_EgressServiceServicer_to_server
from contracts.router.v1.policy_service_pb2_grpc import add_PolicyServiceServicer_to_server
from kernel.database import Database
from kernel.outbox import Outbox
from kernel.rpc import RpcServer
from services.router.api.cells import CellAdmin
from services.router.api.egress import EgressServicer, SourceAdmin
from services.router.api.policies import PolicyAdmin, PolicyServicer
from services.router.api.pools import PoolAdmin
from services.router.store.notify import SchedulerNotifier


def add_policy_services(
    server: RpcServer,
    tables: PolicyAdmin,
    outbox: Outbox,
    *,
    database: Database,
    notifier: SchedulerNotifier,
) -> None:
    ramps = tables.rules.ramps
    pools = PoolAdmin(database, outbox, ramps)
    policies = PolicyServicer(database, tables, notifier, pools, CellAdmin(database))
    egress = EgressServicer(database, SourceAdmin(outbox, ramps), tables, notifier)
    add_PolicyServiceServicer_to_server(policies, server.grpc)
    add_EgressServiceServicer_to_server(egress, server.grpc)
