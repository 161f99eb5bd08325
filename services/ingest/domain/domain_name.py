"""The name of a sending domain."""

from mail.address import AddressError, parse_full_domain
from mail.suffix import is_public_suffix


def sending_domain(text: str) -> str:
    """The name as A-labels in lower case. Raises AddressError, also for a public suffix."""
    name = parse_full_domain(text)
    if is_public_suffix(name):
        raise AddressError(f"{name} is a public suffix. Add a registered domain below it.")
    return name
