"""What shield's model reads of a message."""

from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.model.structure import numbers_of
from services.shield.domain.model.text import named_places, named_words, text_entries
from services.shield.domain.parsing import ParsedMessage, ParsingLimits, parse_message


def message(text: str) -> ParsedMessage:
    content = Content(subject=text, text=text, html=text)
    setattr(content, "from", text)
    return parse_message(content, ParsingLimits())


READERS = {
    "structure": lambda text: numbers_of(message(text)),
    "entries": lambda text: text_entries(message(text)),
    "reasons": lambda text: (named_words(message(text)), named_places(message(text))),
}
