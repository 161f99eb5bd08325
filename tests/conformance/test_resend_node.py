"""The official `resend` package from npm, unchanged, against /v1."""

import json
import os
from pathlib import Path

from tests.support.engine import DOMAIN, Engine
from tests.support.npm import node

SCRIPT = Path(__file__).with_name("resend.mjs")


def test_it_sends_batches_retrieves_moves_and_cancels(engine: Engine) -> None:
    settings = {"KEY": engine.customer.api_key, "URL_V1": engine.url, "DOMAIN": DOMAIN}
    ran = node(SCRIPT, env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    done = ("sent", "batch", "got", "scheduled", "moved", "cancelled")
    assert {name: said[name]["error"] for name in done} == dict.fromkeys(done)
    sent = said["sent"]["data"]["id"]
    assert said["got"]["data"]["id"] == sent
    assert said["got"]["data"]["html"] == "<p>Hi</p>"
    assert len({one["id"] for one in said["batch"]["data"]["data"]}) == 2
    assert said["cancelled"]["data"]["id"] == said["scheduled"]["data"]["id"]
    assert said["again"]["error"]["name"] == "invalid_idempotent_request"
    assert said["refused"]["error"]["name"] == "validation_error"
