"""Screen with the latest version of what was learned."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from kernel.database import Database
from services.shield.clients import ScreeningChild
from services.shield.store import learner as store

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LearnedModel:
    """setup: of the children, without what was learned. model: its version; a version that was
    learned with another one is of no use."""

    database: Database
    children: Sequence[ScreeningChild]
    setup: bytes
    model: str
    _known: str = field(default="", init=False)

    async def run_once(self) -> None:
        """Raises Unavailable."""
        async with self.database.transaction() as tx:
            found = await store.load_version(tx, known=self._known)
        if found is None:
            return
        version = found.published
        if version.enforced and version.model_version == self.model:
            for one in self.children:
                await one.child.replace_setup(self.setup + found.packed)
            logger.info("shield.learned_version.used", extra={"version": version.version})
        self._known = version.version
