"""Read the files of rules: the engine's own, and those that settings name."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from contracts.ingest.v1.directory_pb2 import Tenant
from kernel.errors import ConfigError
from kernel.table import ReplicatedTable
from mail.blocklists import parse_blocklists, select, shipped
from mail.dnsbl import Blocklist
from services.router.domain.feedback_rules import parse_complaint_sites, parse_feedback_rules
from services.router.domain.policies import TenantDirectory
from services.router.domain.policy_engine import AdaptivePolicyRules
from services.router.domain.pool_owners import PoolOwners
from services.router.domain.ramps import parse_ramps
from services.router.domain.routes import StaticRoutes
from services.router.domain.shaping import ShapingRules, SiteLimits, parse_shaping, provider_sites
from services.router.domain.standings import ReputationPolicy
from services.router.settings import Settings


def read_shaping(settings: Settings) -> ShapingRules:
    """The engine's rules, changed by those of the operator. Raises ConfigError."""
    default = SiteLimits(settings.in_flight_max, settings.site_per_second_max)
    sites = read_static_routes(settings).sites()
    try:
        own = read_file(settings.shaping_file)
        shipped = read_shipped("shaping.toml")
        return parse_shaping(shipped, default=default, operator_text=own, static_sites=sites)
    except (OSError, ValueError) as error:
        raise ConfigError(f"ROUTER_SHAPING_FILE: {error}") from error


def read_blocklists(settings: Settings) -> list[Blocklist]:
    """Those to query. Raises ConfigError."""
    keys = {name: key.get_secret_value() for name, key in settings.blocklist_keys.items()}
    try:
        entries = parse_blocklists(shipped(), read_file(settings.blocklists_file))
        return select(entries, names=settings.blocklists, keys=keys)
    except (OSError, ValueError) as error:
        raise ConfigError(f"OBM_BLOCKLISTS, …_FILE and OBM_BLOCKLIST_KEYS: {error}") from error


def read_static_routes(settings: Settings) -> StaticRoutes:
    try:
        return StaticRoutes(read_file(settings.routes_file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"ROUTER_ROUTES_FILE: {error}") from error


def adaptation_rules(
    settings: Settings, tenants: ReplicatedTable[Tenant], directory: TenantDirectory
) -> AdaptivePolicyRules:
    """With what tenants have chosen. Raises ConfigError."""
    owners = PoolOwners()
    tenants.on_change(owners.put)
    return replace(
        read_adaptation_rules(settings),
        policy_of=directory.reputation_policy_of,
        owner_of=owners.owner_of,
    )


def read_adaptation_rules(settings: Settings) -> AdaptivePolicyRules:
    """Ramps and feedback rules. Raises ConfigError."""
    try:
        ramps = parse_ramps(read_shipped("ramps.toml") + read_file(settings.ramps_file))
    except (OSError, ValueError) as error:
        raise ConfigError(f"ROUTER_RAMPS_FILE: {error}") from error
    if settings.warmup_ramp not in ramps:
        known = ", ".join(ramps)
        raise ConfigError(
            f"ROUTER_WARMUP_RAMP: no ramp is named {settings.warmup_ramp!r}. Use {known}."
        )
    try:
        text = read_file(settings.feedback_file) or read_shipped("feedback.toml")
        feedback = parse_feedback_rules(text)
        complaint_sites, complaint_domain_sites = parse_complaint_sites(text)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"ROUTER_FEEDBACK_FILE: {error}") from error
    return AdaptivePolicyRules(
        ramps=ramps,
        feedback=feedback,
        big_sites=provider_sites(),
        complaint_sites=complaint_sites,
        complaint_domain_sites=complaint_domain_sites,
        policy=ReputationPolicy(settings.reputation_policy),
        checks_required=settings.source_checks == "require",
        listing_weight_min=settings.dnsbl_weight_min,
        default_ramp=settings.warmup_ramp,
        campaign_allowance=settings.campaign_allowance,
        static_sites=read_static_routes(settings).sites(),
    )


def read_shipped(name: str) -> str:
    return (files("services.router") / name).read_text("utf-8")


def read_file(path: str) -> str:
    """Empty if there is none."""
    return Path(path).read_text("utf-8") if path else ""
