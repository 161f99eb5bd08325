"""The token that services show one another."""

import pytest

from kernel.errors import BadSetting
from kernel.rpc import Server


def test_a_service_without_a_token_does_not_start() -> None:
    with pytest.raises(BadSetting, match="RPC_TOKEN"):
        Server("127.0.0.1:0", "")
