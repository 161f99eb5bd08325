"""Brands: records, which operators create, and those of the installation's file."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from contracts.ingest.v1.directory_pb2 import Account
from contracts.ingest.v1.directory_pb2 import Brand as BrandRecord
from kernel.brand import (
    COLOR,
    DEFAULT_ID,
    HOST,
    HOST_MAX,
    LOGO_URL,
    LOGO_URL_MAX,
    SELECTOR_PREFIX,
    SLUG,
    Brand,
    Brands,
    brand_of,
)
from kernel.ids import uuid7_text
from mail.mx import provider_domains
from mail.suffix import is_public_suffix
from services.ingest.api.administration.directory import (
    WHAT,
    DirectoryResource,
    conflict,
    paginate,
    parse_id,
    set_given_fields,
)
from services.ingest.api.callers import Caller, CallerKind
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE, explained
from services.ingest.domain.problem import Fault, Problem, invalid, not_found
from services.ingest.store.brands import brands_with_hosts, is_named_by_account
from services.ingest.store.directory import DirectoryTransaction
from services.ingest.store.directory_lists import EntryOwner, PageBounds

END = r"$(?!\n)"
ZONE_MAX = 170  # the names of keys in it have two labels more
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE)]
HOST_NAME = "Use a host name in lower case, such as api.example.com"
SLUG_PATTERN = explained(f"^{SLUG.pattern}{END}", "Use 2 to 20 letters from a to z")
HOST_PATTERN = explained(f"^{HOST.pattern}{END}", HOST_NAME)
OPTIONAL_HOST_PATTERN = explained(f"^({HOST.pattern})?{END}", HOST_NAME)
SPF_PATTERN = explained(f"^((_spf\\.)?{HOST.pattern})?{END}", HOST_NAME)
SELECTOR_PATTERN = explained(
    f"^({SELECTOR_PREFIX.pattern})?{END}", "Use letters from a to z, digits and inner hyphens"
)
VISIBLE_PATTERN = explained(f"^[!-~]*{END}", "Use visible ASCII characters, without spaces")
LOGO_PATTERN = explained(
    f"^({LOGO_URL.pattern})?{END}", "Use an https URL without quotes, spaces and fragment"
)
COLOR_PATTERN = explained(
    f"^({COLOR.pattern})?{END}", "Use a colour in lower case, such as #0a66c2"
)
Slug = Annotated[str, Meta(max_length=20, pattern=SLUG_PATTERN)]
Host = Annotated[str, Meta(max_length=HOST_MAX, pattern=HOST_PATTERN)]
OptionalHost = Annotated[str, Meta(max_length=HOST_MAX, pattern=OPTIONAL_HOST_PATTERN)]
Zone = Annotated[str, Meta(max_length=ZONE_MAX, pattern=OPTIONAL_HOST_PATTERN)]
SpfHost = Annotated[str, Meta(max_length=HOST_MAX, pattern=SPF_PATTERN)]
Hosts = Annotated[list[Host], Meta(max_length=20)]
SelectorPrefix = Annotated[str, Meta(max_length=20, pattern=SELECTOR_PATTERN)]
Visible = Annotated[str, Meta(max_length=100, pattern=VISIBLE_PATTERN)]
LogoUrl = Annotated[str, Meta(max_length=LOGO_URL_MAX, pattern=LOGO_PATTERN)]
Color = Annotated[str, Meta(max_length=7, pattern=COLOR_PATTERN)]
OF_CLIENTS = ("smtp_host", "docs_host", "tracking_host", "unsubscribe_host")


class CreateBrandRequest(RequestModel):
    """slug: 2 to 20 lower-case letters; what is left out or empty follows from it, or is that of
    the installation. sandbox_domain: accepts test mail only. api_hosts: requests to these hosts
    have the names of this brand. bounce_mx, spf_include, selector_prefix: in the DNS records of new
    domains. dkim_zone: a zone that you run, with their DKIM keys: GET /v1/dkim-zone. logo_url,
    color: of the pages that recipients see, such as those to unsubscribe."""

    name: Name
    slug: Slug
    sandbox_domain: Host
    problem_type: Visible = ""
    user_agent: Visible = ""
    smtp_host: OptionalHost = ""
    bounce_mx: OptionalHost = ""
    spf_include: SpfHost = ""
    api_hosts: Hosts = msgspec.field(default_factory=list)
    docs_host: OptionalHost = ""
    tracking_host: OptionalHost = ""
    unsubscribe_host: OptionalHost = ""
    selector_prefix: SelectorPrefix = ""
    dkim_zone: Zone = ""
    logo_url: LogoUrl = ""
    color: Color = ""


class UpdateBrandRequest(RequestModel):
    """Only the given fields are changed. Keys, selectors and DNS records that exist stay as they
    are."""

    name: Name | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    sandbox_domain: Host | UnsetType = UNSET
    problem_type: Visible | UnsetType = UNSET
    user_agent: Visible | UnsetType = UNSET
    smtp_host: OptionalHost | UnsetType = UNSET
    bounce_mx: OptionalHost | UnsetType = UNSET
    spf_include: SpfHost | UnsetType = UNSET
    api_hosts: Hosts | UnsetType = UNSET
    docs_host: OptionalHost | UnsetType = UNSET
    tracking_host: OptionalHost | UnsetType = UNSET
    unsubscribe_host: OptionalHost | UnsetType = UNSET
    selector_prefix: SelectorPrefix | UnsetType = UNSET
    dkim_zone: Zone | UnsetType = UNSET
    logo_url: LogoUrl | UnsetType = UNSET
    color: Color | UnsetType = UNSET


class BrandWithId(NamedTuple):
    """A brand with its id. is_record: it can be changed."""

    id: str
    brand: Brand
    is_record: bool


class BrandResource:
    def __init__(self, directory: DirectoryResource, brands: Brands) -> None:
        self._directory = directory
        self._brands = brands

    async def create(self, caller: Caller, given: CreateBrandRequest) -> BrandWithId:
        check_sandbox_domain(given.sandbox_domain)
        record = BrandRecord(brand_id=uuid7_text(), **msgspec.structs.asdict(given))
        async with self._directory.changing(caller) as change:
            await self._check_hosts(change, record)
            await change.save(record)
        return entry_of(record)

    async def page(self, page: PageBounds, *, name: str) -> tuple[Sequence[BrandWithId], bool]:
        """Those of the file, then the newest first. name: only brands of this name, if it is not
        empty."""
        records = [entry_of(one) for one in await self._directory.brands()]
        found = [one for one in (*self._of_file(), *records) if name in {"", one.brand.name}]
        return paginate(found, page, id_of=attrgetter("id"))

    async def get(self, caller: Caller, brand_id: str) -> BrandWithId:
        """An account finds its own brand only."""
        if caller.kind != CallerKind.OPERATOR and brand_id != await self._id_of_account(caller):
            raise not_found(WHAT[BrandRecord])
        for one in self._of_file():
            if one.id == brand_id:
                return one
        return entry_of(await self._directory.get(BrandRecord, EntryOwner(), brand_id))

    async def update(self, caller: Caller, brand_id: str, given: UpdateBrandRequest) -> BrandWithId:
        if given.sandbox_domain is not UNSET:
            check_sandbox_domain(given.sandbox_domain)
        async with self._directory.changing(caller) as change:
            record = await self._find(change, brand_id)
            if given.api_hosts is not UNSET:
                del record.api_hosts[:]
                record.api_hosts.extend(given.api_hosts)
                given = msgspec.structs.replace(given, api_hosts=UNSET)
            set_given_fields(record, given)
            await self._check_hosts(change, record)
            await change.save(record)
        return entry_of(record)

    async def delete(self, caller: Caller, brand_id: str) -> str:
        """Only while no account names it. Domains keep its hosts in their DNS records."""
        async with self._directory.changing(caller) as change:
            record = await self._find(change, brand_id)
            if await is_named_by_account(change, record.brand_id):
                detail = "An account has this brand. Give its accounts another one first."
                raise conflict("brand_in_use", detail)
            record.deleted = True
            await change.save(record)
        return record.brand_id

    async def _find(self, change: DirectoryTransaction, brand_id: str) -> BrandRecord:
        """A record to change. Raises Problem."""
        if any(one.id == brand_id for one in self._of_file()):
            detail = "This brand is in the installation's file of brands. Change it there."
            raise conflict("brand_in_file", detail)
        found = await change.find(BrandRecord, parse_id(brand_id, WHAT[BrandRecord]))
        if found is None:
            raise not_found(WHAT[BrandRecord])
        return found

    async def _check_hosts(self, change: DirectoryTransaction, record: BrandRecord) -> None:
        """A host belongs to one brand only. Raises Problem 409."""
        hosts = brand_of(record).hosts
        taken = {host for host in hosts if host in self._brands.hosts_of_file}
        for other in await brands_with_hosts(change, hosts, but=record.brand_id):
            taken |= {*hosts} & {*brand_of(other).hosts}
        if faults := [_taken(pointer, host) for pointer, host in _places(record) if host in taken]:
            detail = faults[0].detail
            raise Problem(409, "already_exists", detail=detail, faults=faults)

    def _of_file(self) -> list[BrandWithId]:
        return [
            BrandWithId(one, self._brands.named(one), is_record=False) for one in self._brands.ids
        ]

    async def _id_of_account(self, caller: Caller) -> str:
        account = await self._directory.get(Account, EntryOwner(), caller.account_id)
        return account.brand or DEFAULT_ID


async def check_brand(change: DirectoryTransaction, brands: Brands, brand_id: str) -> None:
    """Check that an account can name it. Raises Problem."""
    if brand_id in {"", *brands.ids}:
        return
    try:
        found = await change.find(BrandRecord, parse_id(brand_id, WHAT[BrandRecord]))
    except Problem:
        found = None
    if found is None:
        detail = "There is no such brand. Use the id of one: GET /v1/brands."
        raise invalid([Fault("#/brand", "invalid", detail)])


def check_sandbox_domain(name: str) -> None:
    """Refuse a domain of others, because it gets no live mail. Raises Problem."""
    others = ""
    if is_public_suffix(name):
        others = "is a public suffix"
    elif name in provider_domains():
        others = "is a domain of a mailbox provider"
    if others:
        detail = f"{name} {others}, and no live mail could be sent to it. Use a domain of yours."
        raise invalid([Fault("#/sandbox_domain", "invalid", detail)])


def entry_of(record: BrandRecord) -> BrandWithId:
    return BrandWithId(record.brand_id, brand_of(record), is_record=True)


def _places(record: BrandRecord) -> list[tuple[str, str]]:
    """The hosts of clients, with the pointers of their fields."""
    listed = [(f"#/api_hosts/{index}", host) for index, host in enumerate(record.api_hosts)]
    return listed + [(f"#/{name}", getattr(record, name)) for name in OF_CLIENTS]


def _taken(pointer: str, host: str) -> Fault:
    return Fault(pointer, "already_exists", f"{host} is a host of another brand.")
