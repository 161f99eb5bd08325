"""The RPC services by which messages are seen and changed."""

from contracts.router.v1.held_service_pb2_grpc import add_HeldServiceServicer_to_server
from contracts.router.v1.router_service_pb2_grpc import add_RouterServiceServicer_to_server
from kernel.rpc import RpcServer
from services.router.api.held import HeldServicer
from services.router.api.service import RouterServicer


def add_message_services(server: RpcServer, messages: RouterServicer) -> None:
    held = HeldServicer(
        messages.system_database,
        messages.tenant_database,
        messages.outbox,
        messages.health,
        messages.notifier,
    )
    add_RouterServiceServicer_to_server(messages, server.grpc)
    add_HeldServiceServicer_to_server(held, server.grpc)
