"""Mail that the sandbox of a running engine has received."""

import time

import httpx

from tests.support.engine import Engine

WITHIN_S = 120.0


def await_captured(engine: Engine, recipient: str) -> bytes:
    """The message to a recipient, once it has arrived."""
    headers = {"Authorization": f"Bearer {engine.account.api_key}"}
    until_s = time.monotonic() + WITHIN_S
    with httpx.Client(base_url=engine.url, headers=headers, timeout=60) as api:
        while True:
            found = api.get("/sandbox/messages", params={"recipient": recipient}).json()["data"]
            if found:
                return api.get(f"/sandbox/messages/{found[0]['id']}/raw").content
            assert time.monotonic() < until_s
            time.sleep(0.1)
