"""What is tracked in an email, and how its recipients unsubscribe: what was requested, within what
its domain allows. Written into the content when the email is accepted."""

from contracts.ingest.v1.content_pb2 import Content, TrackingMode, Unsubscribe
from contracts.ingest.v1.directory_pb2 import Domain
from kernel.brand import Brand
from mail.unsubscribe import URL_PLACEHOLDER
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.valid_email import ValidEmail

BROADCAST = "broadcast"


def may_have_links(email: ValidEmail, domain: Domain) -> bool:
    """Whether delivery may have to add anything."""
    return bool(
        domain.open_tracking
        or domain.click_tracking
        or email.track_opens
        or email.track_clicks
        or email.stream == BROADCAST
        or email.list_unsubscribe is not None
    )


def freeze_links(email: ValidEmail, domain: Domain, brand: Brand, *, own_host: str = "") -> None:
    """Write it into the content. own_host: of the domain, in place of the hosts of the brand.
    Raises Problem 422."""
    content = email.content
    opens, clicks = _is_tracked(email, domain, "open"), _is_tracked(email, domain, "click")
    if email.track_opens or email.track_clicks:
        check_tracking_host(brand, track_opens=email.track_opens, track_clicks=email.track_clicks)
    if (opens or clicks) and (host := own_host or brand.tracking_host):
        content.tracking.host = host
        content.tracking.opens, content.tracking.clicks = opens, clicks
        content.tracking.excluded_hosts[:] = domain.untracked_hosts
        content.tracking.mode = _mode(email, domain)
    pages_host = own_host or brand.unsubscribe_host or brand.tracking_host
    if (found := _unsubscribe(email, pages_host)) is not None:
        content.unsubscribe.CopyFrom(found)


def _is_tracked(email: ValidEmail, domain: Domain, what: str) -> bool:
    """As the email says, within what its domain allows. A message that was submitted as a whole is
    changed only on request. Raises Problem."""
    requested: bool | None = getattr(email, f"track_{what}s")
    allowed: bool = getattr(domain, f"{what}_tracking")
    if requested and not allowed:
        raise tracking_not_allowed(
            f"#/track_{what}s",
            f"The {what}s of mail from {domain.name} are not tracked. Set {what}_tracking of the"
            " domain first.",
        )
    return allowed and not email.content.raw if requested is None else requested


def _mode(email: ValidEmail, domain: Domain) -> TrackingMode.ValueType:
    """The email's, which keeps no more than its domain's. Raises Problem."""
    most = domain.tracking_mode or TrackingMode.TRACKING_MODE_IDENTIFIED
    if email.tracking_mode is None:
        return most
    mode = mode_named(email.tracking_mode)
    if mode > most:
        raise tracking_not_allowed(
            "#/tracking_mode",
            f"The tracking_mode of {domain.name} is {name_of_mode(most)}. Use it or a lower one.",
        )
    return mode


def mode_named(name: str) -> TrackingMode.ValueType:
    return TrackingMode.Value(f"TRACKING_MODE_{name.upper()}")


def name_of_mode(mode: TrackingMode.ValueType) -> str:
    known = mode or TrackingMode.TRACKING_MODE_IDENTIFIED
    return TrackingMode.Name(known).removeprefix("TRACKING_MODE_").lower()


def check_tracking_host(brand: Brand, **wanted: bool | None) -> None:
    """Whether a domain or an email can have these fields. Raises Problem 422."""
    for name, value in wanted.items():
        if value and not brand.tracking_host:
            detail = f"{name} needs a host for tracking links, which this installation lacks."
            raise tracking_not_allowed(f"#/{name}", detail)


def tracking_not_allowed(pointer: str, detail: str) -> Problem:
    faults = [Fault(pointer, "tracking_not_allowed", detail)]
    return Problem(422, "tracking_not_allowed", detail=detail, faults=faults)


def _unsubscribe(email: ValidEmail, host: str) -> Unsubscribe | None:
    """Raises Problem if it was requested and there is no URL."""
    given = email.list_unsubscribe
    if given is None and email.stream != BROADCAST:
        return None
    url, mailto, one_click = (given.url, given.mailto, given.one_click) if given else ("", "", True)
    if url or host:
        return Unsubscribe(
            host=host, list=email.list, url=url or "", mailto=mailto or "", one_click=one_click
        )
    why = "this installation has no host for pages to unsubscribe"
    if given is not None:
        detail = f"list_unsubscribe needs a url, because {why}."
        raise invalid([Fault("#/list_unsubscribe/url", "missing_required_field", detail)])
    for name in _with_placeholder(email.content):
        detail = f"{name} has {URL_PLACEHOLDER}, but {why}. Send list_unsubscribe with a url."
        raise invalid([Fault(f"#/{name}", "invalid", detail)])
    return None


def _with_placeholder(content: Content) -> list[str]:
    return [name for name in ("html", "text") if URL_PLACEHOLDER in getattr(content, name)]
