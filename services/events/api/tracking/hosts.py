"""The hosts that links in mail lead to."""

from collections.abc import Callable

from kernel.brand import Brand, Brands, is_local, without_port


class TrackingHosts:
    """The tracking and unsubscribe hosts of brands. While no brand has any, every host is one.

    are_known: whether the brands of the directory have arrived; until then no host is refused.
    """

    def __init__(self, brands: Brands, are_known: Callable[[], bool]) -> None:
        self._brands = brands
        self._are_known = are_known

    def brand_of(self, host: str) -> Brand:
        return self._brands.of_host(host)

    def refuses(self, host: str) -> bool:
        """Whether no link leads to the host of a request, and it is no address or localhost."""
        brand = self._brands.find_host(host)
        if brand is not None and without_port(host) in _hosts_of(brand):
            return False
        limited = self._are_known() and any(_hosts_of(one) for one in self._brands)
        return limited and not is_local(host)


def _hosts_of(brand: Brand) -> set[str]:
    return {brand.tracking_host, brand.unsubscribe_host} - {""}
