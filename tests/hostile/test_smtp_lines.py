from tests.hostile.smtp_lines import Client


def test_generated_sessions_crash_nothing_and_accept_nothing_stray() -> None:
    client = Client(seed=7)
    client.run(30_000)
    assert client.accepted > 100
