"""The token that authenticates services."""

import pytest

from kernel.errors import ConfigError
from kernel.rpc import RpcClient, RpcServer


def test_a_service_without_a_token_does_not_start() -> None:
    with pytest.raises(ConfigError, match="OBM_RPC_TOKEN"):
        RpcServer("127.0.0.1:0", "")


def test_a_client_does_not_start_without_a_token() -> None:
    with pytest.raises(ConfigError, match="OBM_RPC_TOKEN"):
        RpcClient("router", "127.0.0.1:1", "")
