"""The page of topics, from a descriptor set as protoc writes it."""

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from cli.topics import render_page
from contracts.options.v1 import options_pb2
from contracts.options.v1.options_pb2 import Topic


def described(topic: Topic, comment: str = "") -> str:
    file = FileDescriptorProto(name="parcels.proto", package="contracts.parcels.v1")
    file.message_type.add(name="NotAnEvent")
    file.message_type.add(name="ParcelSent").options.Extensions[options_pb2.topic].CopyFrom(topic)
    file.source_code_info.location.add(path=[4, 1], leading_comments=comment)
    return render_page(FileDescriptorSet(file=[file]))


def test_event_has_a_row_with_its_keys_and_retention() -> None:
    topic = Topic(name="parcels.sent.v1", key=["a"], natural_key=["a", "b"], partitions=12)
    topic.readers.extend(["events", "router"])
    topic.retention.FromSeconds(7 * 86400)
    row = "| `parcels.sent.v1` | `contracts.parcels.v1.ParcelSent` | a | a, b | 12 | 7 days |"
    assert f"{row} events, router |" in described(topic).splitlines()


def test_priorities_are_part_of_the_topic_name() -> None:
    text = described(Topic(name="parcels.sent.v1", priorities=["express", "bulk"], compacted=True))
    assert "`parcels.sent.v1.{express,bulk}`" in text
    assert "newest of each key" in text


def test_the_description_is_the_comment_of_the_contract() -> None:
    assert "**ParcelSent** It left the house." in described(
        Topic(name="parcels.sent.v1"), " It left\n the house.\n"
    )
