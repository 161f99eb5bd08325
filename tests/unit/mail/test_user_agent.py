# ruff: noqa: E501 - user agents
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.user_agent import reduce_user_agent

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "reduced"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.57 Safari/537.36", "Chrome 126, Windows"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.61", "Edge 126, Windows"),
        (f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {WEBKIT} Version/17.5 Mobile/15E148 Safari/604.1", "Safari 17, iOS"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT}", "Apple Mail, macOS"),
        ("Mozilla/5.0 (Linux; Android 10; CUBOT_X30) AppleWebKit/537.36 Chrome/91.0 Mobile Safari/537.36", "Chrome 91, Android"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.3.1", "Thunderbird 128, Linux"),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", "Google image proxy"),
        ("", "unknown"),
        ("ann@example.net", "unknown"),
    ],
)  # fmt: skip
def test_only_program_and_system_are_left(user_agent: str, reduced: str) -> None:
    assert reduce_user_agent(user_agent) == reduced


@given(st.text())
def test_any_user_agent_becomes_a_short_text(user_agent: str) -> None:
    assert 0 < len(reduce_user_agent(user_agent)) < 80
