"""Complaints that mailbox providers sent to others name our message, if it is what they return.

The reports are real; only the field that our messages carry is added to the message in them.
"""

from uuid import UUID

from mail import verp
from services.delivery.domain.returned_mail import read
from tests.support.provider_reports import provider_reports, returning

KEY, MESSAGE = b"k" * 16, UUID(int=1)
TOKEN = verp.token_of(verp.return_path(MESSAGE, "b.sender.example", key=KEY).address)


def test_complaints_of_real_providers_name_our_message() -> None:
    found = provider_reports()
    assert len(found) >= 7
    for report in found:
        mail = read(returning(report, TOKEN))
        if "feedback-type: auth-failure" in report["raw"].lower():  # of DMARC: nobody complained
            assert (mail.kind, mail.tokens) == ("auth-failure", ()), report["id"]
            continue
        assert mail.kind == "complaint", report["id"]
        assert TOKEN in mail.tokens, report["id"]
        assert verp.parse_token(TOKEN, keys=(KEY,)) == MESSAGE
