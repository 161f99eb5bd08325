"""Adds, changes and removes the domains of a tenant."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import Domain, TrackingHost
from kernel import clock
from mail.address import AddressError
from mail.records import DnsRecord
from services.ingest.api.access import Principal
from services.ingest.api.administration.directory import DirectoryResource, paginate, query_or_503
from services.ingest.api.administration.plans import PlanChecks
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import Caller, CallerKind, caller_kind_of, check_live
from services.ingest.api.domain_requests import CreateDomainRequest, UpdateDomainRequest
from services.ingest.api.emails import EmailResource
from services.ingest.domain import verification
from services.ingest.domain.dkim_rotation import is_rotating
from services.ingest.domain.domain_name import sending_domain
from services.ingest.domain.links import check_tracking_host, mode_named
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.domain.tracking_host import (
    CertificateStatus,
    LinkHosts,
    check_host,
    host_below,
    too_many_hosts,
)
from services.ingest.store.directory import DirectoryStore, DomainExists
from services.ingest.store.directory_lists import EntryOwner, PageBounds
from services.ingest.store.domain_keys import DomainKeyring
from services.ingest.store.domains import (
    DomainHasMailboxes,
    DomainStore,
    TooManyDomains,
    VerificationState,
    begin_checks,
    begin_rotation,
    set_fields,
)

ENFORCED = "enforced"
TRACKING = ("open_tracking", "click_tracking")
TRACKING_HOST = ("tracking_host", "tracking_target")
HOSTS_PER_DOMAIN = 2  # tracking hosts that a tenant can have had, for each domain it can have
WAITING_S = 3.0  # to look for mail that waits

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DomainDetails:
    """A domain, the state of its checks, the records to publish, and the certificate of its own
    host for links."""

    domain: Domain
    check: VerificationState
    records: tuple[DnsRecord, ...]
    certificate: CertificateStatus | None


class DomainDkimRecords(NamedTuple):
    """A domain, and the records of its keys in a zone of the installation."""

    domain: Domain
    records: tuple[DnsRecord, ...]


@dataclass(frozen=True, slots=True)
class DomainResource:
    """lists: across tenants. count_max: domains of a tenant. brands: of accounts. hosts: of
    domains."""

    directory: DirectoryStore
    lists: DirectoryResource
    store: DomainStore
    keys: DomainKeyring
    emails: EmailResource
    count_max: int
    brands: BrandResolver
    hosts: LinkHosts
    plans: PlanChecks

    async def list_all(self, principal: Principal) -> list[Domain]:
        """The domains that the tenant can send from."""
        account_id = principal.tenant.account_id
        return await query_or_503(self.directory.list_domains(principal.tenant_id, account_id))

    async def list_of(
        self, caller: Caller, page: PageBounds, *, name: str
    ) -> tuple[Sequence[Domain], bool]:
        """The domains that a tenant can send from, or those of an account or the installation.
        name: only domains of this name, if it is not empty."""
        name = canonical_name(name)
        if caller.tenant is None:
            return await self.lists.page(Domain, caller.owner, page, equal={"name": name})
        found = await self.list_all(Principal.of(caller, caller.tenant))
        named = [one for one in found if name in {"", one.name}]
        return paginate(named, page, id_of=attrgetter("domain_id"))

    async def zone_page(
        self, page: PageBounds, *, zone: str
    ) -> tuple[Sequence[DomainDkimRecords], bool]:
        """The records of a zone of the installation, by domain, newest first. Raises Problem."""
        if not zone:
            fault = Fault(
                "#/query/zone", "missing_required_field", "The parameter zone is missing."
            )
            raise invalid([fault])
        equal = {"dkim_zone": zone.lower().rstrip(".")}
        found, has_more = await self.lists.page(Domain, EntryOwner(), page, equal=equal)
        return [DomainDkimRecords(one, self.keys.zone_records(one)) for one in found], has_more

    async def find(self, principal: Principal, domain_id: str) -> Domain:
        """Raises Problem 404."""
        for one in await self.list_all(principal):
            if one.domain_id == domain_id:
                return one
        raise not_found("the domain")

    async def get(self, principal: Principal, domain_id: str) -> DomainDetails:
        """Raises Problem 404."""
        domain = await self.find(principal, domain_id)
        return self._view(domain, await query_or_503(self.store.check_of(domain)))

    async def create(self, principal: Principal, new: CreateDomainRequest) -> DomainDetails:
        """Raises Problem, with 409 if the tenant has the domain already."""
        _check_unrestricted(principal)
        _check_flags(principal, new)
        name = domain_name(new.name)
        self._check_tracking(principal, new)
        if not self.keys.hosts:
            logger.error("domain.no_bounce_host", extra={"setting": "OBM_BOUNCE_MX"})
            detail = "No domains can be added at the moment. Try again later, or ask for support."
            raise Problem(503, "service_unavailable", detail=detail)
        if len(await self.list_all(principal)) >= self.count_max:
            raise too_many_domains(self.count_max)
        domain = await self.keys.new_domain(
            name,
            tenant_id=principal.tenant_id,
            account_id=principal.tenant.account_id,
            label=new.custom_return_path.lower(),
            brand=self.brands.id_of(principal.tenant.account_id),
        )
        domain.shared, domain.vouched = new.shared, new.vouched
        domain.tls_enforced = new.tls == ENFORCED
        domain.open_tracking = bool(new.open_tracking)
        domain.click_tracking = bool(new.click_tracking)
        domain.untracked_hosts.extend(new.untracked_hosts or ())
        domain.tracking_mode = mode_named(new.tracking_mode or "identified")
        await self._set_tracking_host(principal, domain, new.tracking_subdomain or "")
        domain.status = verification.VERIFIED if new.vouched else verification.NOT_STARTED
        await self._add(principal, domain)
        return await self.get(principal, domain.domain_id)

    async def _add(self, principal: Principal, domain: Domain) -> None:
        """Raises Problem."""
        try:
            added = self.store.add(
                domain,
                count_max=self.count_max,
                further_check=lambda tx: self.plans.check_room(
                    tx, Domain, domain.account_id, pointers=["#/name"]
                ),
                actor=principal.caller.actor,
            )
            await query_or_503(added)
        except TooManyDomains:  # others were added meanwhile
            raise too_many_domains(self.count_max) from None
        except DomainExists:
            detail = f"The domain {domain.name} exists already. See GET /v1/domains."
            fault = Fault("#/name", "already_exists", detail)
            raise Problem(409, "already_exists", detail=detail, faults=[fault]) from None

    async def verify(self, principal: Principal, domain_id: str) -> str:
        """Check the domain soon, and begin its schedule again. Raises Problem."""

        found = await self.find(principal, domain_id)
        _check_own(principal, found)
        if (
            await query_or_503(
                self.store.change(domain_id, begin_checks, actor=principal.caller.actor)
            )
            is None
        ):
            raise not_found("the domain")
        return domain_id

    async def rotate(self, principal: Principal, domain_id: str) -> DomainDetails:
        """Add pending keys, which sign as soon as DNS publishes them. Raises Problem 409 while a
        rotation is in progress."""
        found = await self.find(principal, domain_id)
        _check_own(principal, found)
        raise_if_rotating(found)
        keys = await self.keys.new_keys(found.brand)

        def begin(domain: Domain, check: VerificationState, now: datetime) -> VerificationState:
            raise_if_rotating(domain)
            return begin_rotation(keys, domain, check, now=now)

        if (
            await query_or_503(self.store.change(domain_id, begin, actor=principal.caller.actor))
            is None
        ):
            raise not_found("the domain")
        return await self.get(principal, domain_id)

    async def update(
        self, principal: Principal, domain_id: str, changes: UpdateDomainRequest
    ) -> DomainDetails:
        """Raises Problem."""
        found = await self.find(principal, domain_id)
        _check_own(principal, found)
        self._check_tracking(principal, changes)
        names = (*TRACKING, "untracked_hosts")
        given: dict[str, object] = {name: getattr(changes, name) for name in names}
        if changes.tracking_subdomain is not None:
            await self._set_tracking_host(principal, found, changes.tracking_subdomain)
            given |= {name: getattr(found, name) for name in TRACKING_HOST}
        if changes.tracking_mode is not None:
            given["tracking_mode"] = mode_named(changes.tracking_mode)
        if changes.tls is not None:
            given["tls_enforced"] = changes.tls == ENFORCED
        change = partial(set_fields, given=given)
        changed = await query_or_503(
            self.store.change(domain_id, change, actor=principal.caller.actor)
        )
        if changed is None:
            raise not_found("the domain")
        return self._view(*changed)

    def _check_tracking(
        self, principal: Principal, given: CreateDomainRequest | UpdateDomainRequest
    ) -> None:
        """Raises Problem."""
        wanted = {name: getattr(given, name) for name in TRACKING}
        if any(wanted.values()):
            check_tracking_host(self.brands.of(principal.tenant.account_id), **wanted)

    async def _set_tracking_host(self, principal: Principal, domain: Domain, label: str) -> None:
        """Raises Problem."""
        host, brand = host_below(domain.name, label), self.brands.of(principal.tenant.account_id)
        if host and host != domain.tracking_host:
            check_tracking_host(brand, tracking_subdomain=True)
            check_host(host, return_path_host=domain.return_path_host, brands=self.brands.all)
            before = self.directory.list_of_tenant(TrackingHost, principal.tenant_id)
            if (count := len(await query_or_503(before))) >= HOSTS_PER_DOMAIN * self.count_max:
                raise too_many_hosts(count)
        domain.tracking_host, domain.tracking_target = host, brand.tracking_host if host else ""

    async def remove(self, principal: Principal, domain_id: str, *, force: bool) -> None:
        """Raises Problem 409 while mail from the domain waits or it has mailboxes, unless force."""
        found = await self.find(principal, domain_id)
        _check_own(principal, found)
        if not force and await self._has_waiting(principal, found):
            detail = f"Mail from {found.name} waits and would fail. Cancel it, or use ?force=true."
            raise Problem(409, "domain_in_use", detail=detail)
        try:
            await query_or_503(self.store.remove(found, force=force, actor=principal.caller.actor))
        except DomainHasMailboxes as error:
            what = "a mailbox" if error.count == 1 else f"{error.count:,} mailboxes"
            detail = f"{found.name} has {what}. Delete them first, or with it by ?force=true."
            raise Problem(409, "domain_in_use", detail=detail) from None

    async def _has_waiting(self, principal: Principal, domain: Domain) -> bool:
        """Whether messages wait; also if that cannot be found out in time."""
        until_s, after = clock.monotonic_s() + WAITING_S, ""
        mail = self.emails.waiting_mail(principal)
        while clock.monotonic_s() < until_s:
            found, after = await mail.read_page(after)
            if any(context.domain_id == domain.domain_id for context, _ in found):
                return True
            if not after:
                return False
        return True

    def _view(self, domain: Domain, check: VerificationState) -> DomainDetails:
        certificate = self.hosts.certificate_status(domain, clock.now())
        return DomainDetails(domain, check, self.keys.records(domain), certificate)


def raise_if_rotating(domain: Domain) -> None:
    if is_rotating(domain):
        detail = (
            f"The DKIM keys of {domain.name} are being rotated: publish the new records, and keep"
            " the old ones for seven days."
        )
        raise Problem(409, "rotation_in_progress", detail=detail)


def domain_name(text: str) -> str:
    """The name of a sending domain as A-labels. Raises Problem."""
    try:
        return sending_domain(text)
    except AddressError as error:
        raise invalid([Fault("#/name", "invalid", str(error))]) from error


def _check_unrestricted(principal: Principal) -> None:
    """Raises Problem."""
    check_live(principal.key, "domains to change")
    if principal.key.domain_id:
        detail = "This key is restricted to one domain and cannot add others."
        raise Problem(403, "restricted_api_key", detail=detail)


def _check_flags(principal: Principal, new: CreateDomainRequest) -> None:
    """Raises Problem."""
    if new.shared and principal.key.tenant_id:
        detail = "The key of a tenant cannot share a domain with others. Use the key of an account."
        raise Problem(403, "restricted_api_key", detail=detail)
    if new.vouched and caller_kind_of(principal.key) != CallerKind.OPERATOR:
        detail = "Only an operator can vouch for a domain."
        raise Problem(403, "restricted_api_key", detail=detail)


def canonical_name(text: str) -> str:
    """The name of a domain as it is stored; other texts unchanged."""
    try:
        return sending_domain(text)
    except AddressError:
        return text


def _check_own(principal: Principal, domain: Domain) -> None:
    """Raises Problem unless the key may change the domain."""
    check_live(principal.key, "domains to change")
    bound = principal.key.domain_id
    if domain.tenant_id != principal.tenant_id or (bound and bound != domain.domain_id):
        detail = f"This key cannot change {domain.name}: it belongs to another tenant or key."
        raise Problem(403, "restricted_api_key", detail=detail)


def too_many_domains(count_max: int) -> Problem:
    detail = f"The tenant has {count_max} domains already. Delete one first."
    return invalid([Fault("#/name", "too_many", detail)])
