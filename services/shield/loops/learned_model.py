"""Screen with the versions of what was learned that are in use."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from kernel.database import Database
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.learning.rollout import is_of
from services.shield.domain.screening import with_learned
from services.shield.store import versions
from services.shield.store.versions import RolloutVersions

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LearnedModelLoader:
    """setup: of the children, without what was learned. model: its version; a version that was
    learned with another one is of no use. is_enforced: otherwise learning watches, and a version
    only scores beside the model as it was trained."""

    database: Database
    children: Sequence[ScreeningChild]
    setup: bytes
    model: str
    is_enforced: bool
    _known: RolloutVersions = field(default=RolloutVersions(), init=False)

    async def run_once(self) -> None:
        """Raises Unavailable."""
        async with self.database.transaction() as tx:
            found = await versions.load_in_use(tx, known=self._known)
        if found is None:
            return
        in_use, tables = found
        live = tables.live if self.is_enforced and is_of(self.model, in_use.live) else b""
        shadow = tables.shadow if is_of(self.model, in_use.shadow) else b""
        for one in self.children:
            await one.child.replace_setup(with_learned(self.setup, live, shadow))
        logger.info("shield.learned_versions.used", extra=in_use._asdict())
        self._known = in_use
