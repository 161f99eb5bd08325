"""Readiness of a service, derived from its dependencies."""


class DependencyHealth:
    """The set of unavailable dependencies; the service is ready while it is empty."""

    def __init__(self) -> None:
        self.unavailable: set[str] = set()

    @property
    def ready(self) -> bool:
        return not self.unavailable
