"""What `obm run` says when its first message meets trouble."""

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

EVENT = {"id": "evt_1", "type": "email.delivered", "created_at": "now", "data": {}}
AWAY = (503, {"message": "events does not answer"})
NOTHING: tuple[int, dict[str, Any]] = (200, {"data": []})
SENT = (202, {"id": "0189"})
DELIVERED = (200, {"data": [EVENT]})


def played(tmp_path: Path, answers: Sequence[tuple[int, dict[str, Any]]]) -> str:
    """What is printed when the API answers so, one after the other."""
    told, left = StringIO(), iter(answers)

    async def answer(_: web.Request) -> web.Response:
        status, body = next(left)
        return web.json_response(body, status=status)

    async def story() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        async with TestServer(app) as server:
            first = FirstMessage(str(server.make_url("")), tmp_path, Console(file=told))
            await first.introduce()
            await first.send()

    (tmp_path / "sandbox.json").write_text(json.dumps({"api_key": "obm_test_x"}))
    asyncio.run(story())
    return told.getvalue()


def test_a_service_that_is_slow_at_first_is_waited_for(tmp_path: Path) -> None:
    assert "delivered after" in played(tmp_path, [AWAY, NOTHING, AWAY, SENT, AWAY, DELIVERED])


def test_a_key_of_another_database_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the API key does not exist .*sandbox\.json") as refused:
        played(tmp_path, [(403, {"message": "the API key does not exist"})])
    assert "\n" not in str(refused.value)
