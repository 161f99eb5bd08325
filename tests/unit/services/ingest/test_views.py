"""Emails and events as the REST API shows them."""

from google.protobuf.struct_pb2 import Struct

from contracts.events.v1.events_service_pb2 import LoggedEvent
from services.ingest.api.views import shown_event


def test_numbers_of_an_event_are_whole() -> None:
    data = Struct()
    data.update({"seq": 2, "smtp": {"code": 250}, "to": ["a@x.example"], "share": 0.5})

    shown = shown_event(LoggedEvent(id="evt_1", data=data))

    told = {"seq": 2, "smtp": {"code": 250}, "to": ["a@x.example"], "share": 0.5}
    assert shown["data"] == told
    assert isinstance(shown["data"], dict)
    assert (str(shown["data"]["seq"]), str(shown["data"]["smtp"])) == ("2", "{'code': 250}")
