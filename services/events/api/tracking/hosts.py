"""The hosts that links in mail lead to."""

from collections.abc import Callable

from kernel.brand import Brand, Brands, is_local, without_port


class LinkHostRegistry:
    """The tracking and unsubscribe hosts of brands, and the hosts of domains that lead to them.
    While no brand has any, every host is one.

    target_of: the host of a brand that the host of a domain leads to; empty for other hosts.
    are_known: whether all of them have arrived; until then no host is refused.
    """

    def __init__(
        self, brands: Brands, target_of: Callable[[str], str], are_known: Callable[[], bool]
    ) -> None:
        self._brands = brands
        self._target_of = target_of
        self._are_known = are_known

    def brand_of(self, host: str) -> Brand:
        """Of a request, with or without a port."""
        return self._brands.of_host(self._target_of(without_port(host)) or host)

    def refuses(self, host: str) -> bool:
        """Whether no link leads to the host of a request, and it is no address or localhost."""
        name, brand = without_port(host), self._brands.find_host(host)
        if self._target_of(name) or (brand is not None and name in _hosts_of(brand)):
            return False
        limited = self._are_known() and any(_hosts_of(one) for one in self._brands)
        return limited and not is_local(host)


def _hosts_of(brand: Brand) -> set[str]:
    return {brand.tracking_host, brand.unsubscribe_host} - {""}
