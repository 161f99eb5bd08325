"""Emails and events as JSON of the REST API."""

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import LoggedEmail, LoggedEvent
from contracts.ingest.v1.directory_pb2 import ApiKey
from services.ingest.api.administration.views import api_key_to_json
from services.ingest.api.views import event_to_json, logged_email_to_json

KEY_ID = "01890000-0000-7000-8000-000000000000"


def test_whole_numbers_of_an_event_are_integers() -> None:
    data = Struct()
    data.update({"seq": 2, "smtp": {"code": 250}, "to": ["a@x.example"], "share": 0.5})

    text = event_to_json(LoggedEvent(id="evt_1", data=data))

    expected = {"seq": 2, "smtp": {"code": 250}, "to": ["a@x.example"], "share": 0.5}
    assert text["data"] == expected
    assert isinstance(text["data"], dict)
    assert (str(text["data"]["seq"]), str(text["data"]["smtp"])) == ("2", "{'code': 250}")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(253402343999, "9999-12-30T23:59:59.000Z"), (-62135600400, "1970-01-01T00:00:00.000Z")],
)
def test_one_invalid_stored_time_does_not_break_a_list(seconds: int, text: str) -> None:
    stamp = Timestamp(seconds=seconds)

    assert api_key_to_json(ApiKey(key_id=KEY_ID, expires_at=stamp))["expires_at"] == text
    assert logged_email_to_json(LoggedEmail(created_at=stamp))["created_at"] == text
