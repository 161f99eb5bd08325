"""What can be counted about a message. `rules.toml` names them and says how much is too much."""

from services.shield.domain.measures import attachments, body, headers, links
from services.shield.domain.measures.finding import Finding, Measure, Need, WordLists

MEASURES: dict[str, Measure] = (
    headers.MEASURES | body.MEASURES | links.MEASURES | attachments.MEASURES
)
NEEDS: dict[str, Need] = headers.NEEDS | body.NEEDS | links.NEEDS | attachments.NEEDS

__all__ = ["MEASURES", "NEEDS", "Finding", "Measure", "Need", "WordLists"]
