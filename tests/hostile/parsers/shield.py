"""What shield's model reads of a message."""

from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.features import FeatureLimits, MessageFeatures, extract_features
from services.shield.domain.model.structure import numbers_of
from services.shield.domain.model.text import named_places, named_words, text_entries


def features(text: str) -> MessageFeatures:
    content = Content(subject=text, text=text, html=text)
    setattr(content, "from", text)
    return extract_features(content, FeatureLimits())


READERS = {
    "structure": lambda text: numbers_of(features(text)),
    "entries": lambda text: text_entries(features(text)),
    "reasons": lambda text: (named_words(features(text)), named_places(features(text))),
}
