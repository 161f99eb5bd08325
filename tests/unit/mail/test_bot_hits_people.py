"""User agents of mail clients: none is a machine."""

import pytest

from mail import bot_hits
from mail.bot_hits import TrackingHit

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"  # fmt: skip # noqa: E501
PEOPLE = (
    CHROME,
    f"{CHROME} Edg/126.0.0.0",
    f"{CHROME} OPR/112.0.0.0",
    f"{CHROME} Avast/126.0.0.0",
    f"{CHROME} Vivaldi/6.8",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",  # noqa: E501
    "Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/91.0 Mobile Safari/537.36",  # noqa: E501
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    "Outlook-iOS/2.0",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)",
)


@pytest.mark.parametrize("agent", PEOPLE)
def test_a_mail_client_is_not_a_machine(agent: str) -> None:
    for kind in (bot_hits.OPEN, bot_hits.CLICK):
        assert bot_hits.matching_rule(TrackingHit(kind, "GET", agent, after_s=60.0)) is None
