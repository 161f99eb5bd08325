import pytest

from tests.hostile.smtp_lines import Client


@pytest.mark.parametrize("seed", range(4))
def test_a_million_generated_lines_crash_nothing_and_accept_nothing_stray(seed: int) -> None:
    client = Client(seed=seed)
    client.run(250_000)
    assert client.accepted > 1_000
