"""`obm run` when its first message fails."""

import asyncio
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from cli.first_message import FirstMessage
from kernel.errors import ConfigError

KEYS = {"api_key": "obm_test_x", "operator_key": "obm_live_x"}
EVENT = {"id": "evt_1", "type": "email.delivered", "created_at": "now", "data": {}}
UNAVAILABLE = (503, {"message": "events does not respond"})
NOTHING: tuple[int, dict[str, Any]] = (200, {"data": []})
SENT = (202, {"id": "0189"})
DELIVERED = (200, {"data": [EVENT]})


def output_for(tmp_path: Path, responses: Sequence[tuple[int, dict[str, Any]]]) -> str:
    """The output for this sequence of API responses."""
    output, remaining = StringIO(), iter(responses)

    async def respond(_: web.Request) -> web.Response:
        status, body = next(remaining)
        return web.json_response(body, status=status)

    async def scenario() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", respond)
        async with TestServer(app) as server:
            first = FirstMessage(str(server.make_url("")), tmp_path, Console(file=output))
            await first.load_or_create_keys()
            await first.send()

    (tmp_path / "sandbox.json").write_text(json.dumps(KEYS))
    asyncio.run(scenario())
    return output.getvalue()


def test_a_starting_service_is_retried(tmp_path: Path) -> None:
    assert "delivered after" in output_for(
        tmp_path, [UNAVAILABLE, NOTHING, UNAVAILABLE, SENT, UNAVAILABLE, DELIVERED]
    )


def test_a_key_of_another_database_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the API key does not exist .*sandbox\.json") as refused:
        output_for(tmp_path, [(403, {"message": "the API key does not exist"})])
    assert "\n" not in str(refused.value)
