"""Ports of listeners."""

import pytest

from kernel.errors import ConfigError
from kernel.listener import bind


def test_a_port_has_one_listener_also_before_it_serves() -> None:
    with bind("127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Cannot listen on 127.0.0.1:{port}"):
            bind(f"127.0.0.1:{port}")
