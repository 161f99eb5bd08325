"""Readiness of a service, by the health of what it depends on."""


class DependencyHealth:
    """The dependencies that are unavailable now. Ready means that none is."""

    def __init__(self) -> None:
        self.unavailable: set[str] = set()

    @property
    def ready(self) -> bool:
        return not self.unavailable
