"""Wires the listeners of the REST and gRPC APIs, with and without TLS."""

import ssl
from collections.abc import Sequence

from kernel.host_challenge import HostChallenges
from kernel.http_server import HttpServer
from kernel.rpc import TlsListen
from kernel.service import Loop
from kernel.tls import Certificates
from services.ingest.api.cors import with_cors
from services.ingest.api.grpc.base import RpcAccess
from services.ingest.api.grpc.host_challenge import host_challenge_handler
from services.ingest.api.grpc.server import PublicGrpcServer, PublicService
from services.ingest.api.http_app import HttpApp
from services.ingest.api.refusals import refusal_of
from services.ingest.app.dependencies import Dependencies

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def create_certificates(deps: Dependencies) -> Certificates | None:
    """None: no listener has TLS. Raises ConfigError."""
    default = deps.settings.certificate()
    if default is None:
        return None
    return Certificates(default, deps.brands.certificates)


def create_http_servers(
    deps: Dependencies, app: HttpApp, certificates: Certificates | None
) -> list[Loop]:
    """Raises ConfigError."""
    settings = deps.settings
    challenges = HostChallenges(settings.secret_keys)
    origins = [one for one in settings.cors_origins.replace(" ", "").split(",") if one]

    def server(listen: str, tls: ssl.SSLContext | None = None) -> HttpServer:
        return HttpServer(
            challenges.answered_before(with_cors(app, origins)),
            listen,
            refusal=refusal_of(deps.brands),
            trusted_proxies=settings.trusted_proxies,
            connections_max=settings.http_connections_max,
            tls=tls,
        )

    servers = [server(settings.http_listen)] if settings.http_listen else []
    if certificates is not None and settings.http_tls_listen:
        context = certificates.context(VERSIONS[settings.tls_version_min], alpn=["http/1.1"])
        servers.append(server(settings.http_tls_listen, context))
    return [one.run for one in servers]


def create_grpc_server(
    deps: Dependencies,
    services: Sequence[PublicService],
    access: RpcAccess,
    *,
    certificates: Certificates | None,
) -> PublicGrpcServer:
    """Raises ConfigError."""
    settings = deps.settings
    tls = None
    if certificates is not None and settings.grpc_tls_listen:
        tls = TlsListen(settings.grpc_tls_listen, certificates)
    server = PublicGrpcServer(
        services,
        settings.grpc_listen,
        authenticate=access.authenticate,
        bodies=access.bodies,
        health=deps.health,
        connections_max=settings.grpc_connections_max,
        tls=tls,
    )
    challenges = HostChallenges(settings.secret_keys)
    server.grpc.add_generic_rpc_handlers((host_challenge_handler(challenges),))
    return server
