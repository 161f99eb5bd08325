"""Wiring of DNS and of the route to the sandbox."""

from kernel.errors import ConfigError
from kernel.resolver import system_resolver
from services.router.clients.dns import Resolver
from services.router.domain.message import SANDBOX
from services.router.domain.routes import Route, parse_mx_host
from services.router.settings import Settings


def sandbox_route(settings: Settings) -> Route:
    try:
        return Route(SANDBOX, (parse_mx_host(settings.sandbox_address),))
    except ValueError as error:
        raise ConfigError(f"ROUTER_SANDBOX_ADDRESS: {error}") from error


def create_resolver(settings: Settings) -> Resolver:
    return system_resolver(
        settings.nameservers, timeout_s=settings.dns_timeout_s, setting="ROUTER_NAMESERVERS"
    )
