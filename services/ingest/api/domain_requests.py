"""The bodies of requests for domains."""

from typing import Annotated

from msgspec import Meta

from services.ingest.api.administration.brands import Host
from services.ingest.domain.email import RequestModel, Tls, TrackingMode
from services.ingest.domain.patterns import explained
from services.ingest.store.domain_keys import RETURN_PATH_LABEL

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_USE = "Use one label of a host name: letters, digits and inner hyphens, at most 63"
Label = Annotated[str, Meta(pattern=explained(rf"^{_LABEL}$(?!\n)", _USE))]
OptionalLabel = Annotated[str, Meta(pattern=explained(rf"^(?:{_LABEL})?$(?!\n)", _USE))]
UntrackedHosts = Annotated[list[Host], Meta(max_length=100)]


class UpdateDomainRequest(RequestModel):
    """Resend's fields, with the values that the engine supports. id: Resend's clients repeat it.
    tls: of mail that is accepted from now on; enforced: only to servers with TLS and a valid
    certificate. tracking_subdomain: label of a host below the domain for its links; empty: none."""

    id: str = ""
    open_tracking: bool | None = None
    click_tracking: bool | None = None
    untracked_hosts: UntrackedHosts | None = None
    tracking_mode: TrackingMode | None = None
    tracking_subdomain: OptionalLabel | None = None
    tls: Tls | None = None


class CreateDomainRequest(RequestModel):
    """custom_return_path: the label of the return path's host. shared: every tenant of the account
    can use the domain; not by keys of tenants. vouched: live mail can be sent without a check of
    its records; for operators. region: ignored."""

    name: Annotated[str, Meta(min_length=1, max_length=253)]
    custom_return_path: Label = RETURN_PATH_LABEL
    shared: bool = False
    vouched: bool = False
    region: Annotated[str, Meta(max_length=64)] | None = None
    open_tracking: bool | None = None
    click_tracking: bool | None = None
    untracked_hosts: UntrackedHosts | None = None
    tracking_mode: TrackingMode | None = None
    tracking_subdomain: OptionalLabel | None = None
    tls: Tls | None = None
