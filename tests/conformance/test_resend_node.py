"""The official `resend` package from npm, unchanged, against /v1."""

import json
import os
from pathlib import Path

from tests.support.engine import DOMAIN, Engine
from tests.support.npm import node

SCRIPT = Path(__file__).with_name("resend.mjs")


def test_the_client_sends_batches_retrieves_reschedules_and_cancels(engine: Engine) -> None:
    settings = {"KEY": engine.account.api_key, "URL_V1": engine.url, "DOMAIN": DOMAIN}
    ran = node(SCRIPT, env={**os.environ, **settings})

    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    done = ("sent", "batch", "got", "scheduled", "moved", "canceled")
    assert {name: results[name]["error"] for name in done} == dict.fromkeys(done)
    sent = results["sent"]["data"]["id"]
    assert results["got"]["data"]["id"] == sent
    assert results["got"]["data"]["html"] == "<p>Hi</p>"
    assert len({one["id"] for one in results["batch"]["data"]["data"]}) == 2
    assert results["canceled"]["data"]["id"] == results["scheduled"]["data"]["id"]
    assert results["again"]["error"]["name"] == "invalid_idempotent_request"
    assert results["refused"]["error"]["name"] == "validation_error"
