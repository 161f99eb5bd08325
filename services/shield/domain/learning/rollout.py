"""Which version of what was learned is in use: each scores beside the live one before it replaces
it, and a person may decide earlier, or otherwise."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, NamedTuple

from services.shield.domain.learning.reports import DAY_S

PREVIOUS_MAX = 3  # to go back to


class RolloutPlan(NamedTuple):
    """shadow_s: how long a version scores beside the live one. promotes: it is used then; otherwise
    it goes on beside it until there is a newer one."""

    shadow_s: float = DAY_S
    promotes: bool = True


@dataclass(slots=True)
class VersionRollout:
    """live: the version in use; empty: the model as it was trained. shadow: the one beside it,
    since since_s; empty: none. previous: that were live before, the latest last."""

    live: str = ""
    shadow: str = ""
    since_s: float = 0.0
    previous: list[str] = field(default_factory=list)

    @property
    def usable(self) -> list[str]:
        """Those that may be used from now on."""
        return [one for one in (*self.previous, self.live, self.shadow) if one]

    def is_due(self, plan: RolloutPlan, now_s: float) -> bool:
        """Whether the shadow has been one for long enough; True without one."""
        return not self.shadow or now_s - self.since_s >= plan.shadow_s

    def publish(self, version: str, now_s: float) -> None:
        self.shadow, self.since_s = version, now_s

    def promote(self, version: str) -> bool:
        """False if it is not the shadow."""
        if version != self.shadow:
            return False
        if self.live:
            self.previous = [*self.previous, self.live][-PREVIOUS_MAX:]
        self.live, self.shadow = version, ""
        return True

    def withdraw(self, version: str) -> bool:
        """The one before a live version is live again. False if it is not in use."""
        if version == self.shadow:
            self.shadow = ""
        elif version == self.live:
            self.live = self.previous.pop() if self.previous else ""
        else:
            return False
        return True

    def drop_others(self, model: str) -> None:
        """Forget the versions that were learned with another model."""
        self.previous = [one for one in self.previous if is_of(model, one)]
        self.live, self.shadow = (
            one if is_of(model, one) else "" for one in (self.live, self.shadow)
        )

    def dump(self) -> Sequence[Any]:
        return astuple(self)


def is_of(model: str, version: str) -> bool:
    """Whether a version adds to this model."""
    return version.rpartition("+")[0] == model
