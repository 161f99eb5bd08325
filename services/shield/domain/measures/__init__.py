"""Measures of a message. `rules.toml` refers to them by name, with thresholds."""

from services.shield.domain.measures import attachments, body, headers, links
from services.shield.domain.measures.finding import Finding, Measure, NameLists, Need

MEASURES: dict[str, Measure] = (
    headers.MEASURES | body.MEASURES | links.MEASURES | attachments.MEASURES
)
NEEDS: dict[str, Need] = headers.NEEDS | body.NEEDS | links.NEEDS | attachments.NEEDS

__all__ = ["MEASURES", "NEEDS", "Finding", "Measure", "NameLists", "Need"]
