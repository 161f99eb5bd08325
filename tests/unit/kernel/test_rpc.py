"""The token that services show one another."""

import pytest

from kernel.errors import BadSetting
from kernel.rpc import Peer, Server


def test_a_service_without_a_token_does_not_start() -> None:
    with pytest.raises(BadSetting, match="RPC_TOKEN"):
        Server("127.0.0.1:0", "")


def test_a_service_does_not_ask_without_a_token() -> None:
    with pytest.raises(BadSetting, match="RPC_TOKEN"):
        Peer("router", "127.0.0.1:1", "")
