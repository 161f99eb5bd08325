"""docs/topics.md from the contracts: `python -m cli.topics DESCRIPTOR_SET` (see `make proto`)."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from contracts.options.v1 import options_pb2
from contracts.options.v1.options_pb2 import Topic
from kernel.topics import DLQ_SUFFIX

MESSAGES_FIELD = 4  # of FileDescriptorProto: paths of comments begin with it
HEAD = f"""# Topics

Generated from `proto/` by `make proto`. [Read the topics](read-the-topics.md) has an example.

Records are CloudEvents 1.0 in Kafka's binary mode. The value is the protobuf message. The headers
are `ce_id`, `ce_type`, `ce_source`, `ce_time`, `ce_specversion`, `content-type` and W3C
`traceparent`. `ce_id` is `uuid5(uuid5(NAMESPACE_URL, ce_type), natural key)`, with the fields of
the natural key joined by `/`: an event keeps its id when it is published again.

A topic with priorities is two topics, `<name>.express` and `<name>.bulk`; consumers read express
first. Records that a service cannot process go to `<topic>{DLQ_SUFFIX}`, with the reason in their
headers.

| topic | event | key | natural key | partitions | retention | services that read it |
| --- | --- | --- | --- | --- | --- | --- |
"""


class TopicDoc(NamedTuple):
    package: str
    name: str
    comment: str
    topic: Topic


def render_page(descriptors: FileDescriptorSet) -> str:
    """Markdown: a table of all topics, then what each event means."""
    found = sorted(
        (event for file in descriptors.file for event in topic_docs(file)),
        key=lambda e: e.topic.name,
    )
    return HEAD + "".join(map(render_row, found)) + "".join(map(render_paragraph, found))


def topic_docs(file: FileDescriptorProto) -> Iterator[TopicDoc]:
    comments = {
        tuple(place.path): place.leading_comments for place in file.source_code_info.location
    }
    for index, message in enumerate(file.message_type):
        topic = message.options.Extensions[options_pb2.topic]
        if topic.name:
            comment = " ".join(comments.get((MESSAGES_FIELD, index), "").split())
            yield TopicDoc(file.package, message.name, comment, topic)


def render_row(event: TopicDoc) -> str:
    topic = event.topic
    name = f"{topic.name}.{{{','.join(topic.priorities)}}}" if topic.priorities else topic.name
    cells = (
        f"`{name}`",
        f"`{event.package}.{event.name}`",
        ", ".join(topic.key),
        ", ".join(topic.natural_key),
        str(topic.partitions),
        retention(topic),
        ", ".join(topic.readers) or "none",
    )
    return f"| {' | '.join(cells)} |\n"


def retention(topic: Topic) -> str:
    """A compacted topic has no end; the others keep a number of days."""
    return "newest of each key" if topic.compacted else f"{topic.retention.seconds // 86400} days"


def render_paragraph(event: TopicDoc) -> str:
    return f"\n**{event.name}** {event.comment}\n" if event.comment else ""


if __name__ == "__main__":
    sys.stdout.write(render_page(FileDescriptorSet.FromString(Path(sys.argv[1]).read_bytes())))
