"""A dry run of shield decodes large emails in a thread."""

import asyncio
import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import Request as Incoming

from contracts.shield.v1.events_pb2 import Verdict
from contracts.shield.v1.shield_service_pb2 import ScoreRequest, ScoreResponse
from kernel.brand import Brands
from services.ingest.api.fetcher import AttachmentFetcher
from services.ingest.api.http import Request
from services.ingest.api.rest.shield import routes
from services.ingest.api.scoring import ScoringResource
from services.ingest.api.sending import THREAD_BYTES, SendHandler
from services.ingest.domain.attachments import FETCH_DISABLED, FetchPolicy
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.valid_email import ValidEmail


class ThreadRecorder(SendHandler):
    """Records the thread of each call."""

    def __init__(self) -> None:
        fetcher = AttachmentFetcher(
            cast(Any, None),
            None,
            brands=cast(Any, None),
            fetch_policy=FETCH_DISABLED,
            emails_max=1,
            timeout_s=1.0,
        )
        super().__init__(cast(Any, None), recipient_domains=SpecialUseDomains(), fetcher=fetcher)
        self.thread: threading.Thread | None = None

    def read_email(
        self, body: bytes, *, test: bool, fetch_policy: FetchPolicy | None = None
    ) -> ValidEmail:
        self.thread = threading.current_thread()
        return super().read_email(body, test=test, fetch_policy=fetch_policy)


async def authenticate(_: object) -> SimpleNamespace:
    return SimpleNamespace(tenant_id="t1", test=False)


async def passes(_: object, request: ScoreRequest, *, deadline_s: float) -> ScoreResponse:
    return ScoreResponse(verdict=Verdict.VERDICT_PASS)


def score(send_handler: SendHandler, email: dict[str, object]) -> dict[str, object]:
    clients = SimpleNamespace(shield=SimpleNamespace(stub=SimpleNamespace(Score=None), call=passes))
    access = SimpleNamespace(authenticate=authenticate)
    [route] = routes(cast(Any, access), send_handler, ScoringResource(cast(Any, clients))).routes
    body = json.dumps(email).encode()
    scope: dict[str, Any] = {"type": "http", "path": "/v1/shield/score", "headers": []}
    scope["state"] = {"obm_request": Request(scope, Brands())}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    response = asyncio.run(cast(Any, route).endpoint(Incoming(scope, receive)))
    return cast(dict[str, object], json.loads(response.body))


@pytest.mark.parametrize(("size", "in_thread"), [(10, False), (THREAD_BYTES, True)])
def test_a_large_email_is_decoded_in_a_thread(size: int, *, in_thread: bool) -> None:
    send_handler = ThreadRecorder()
    email: dict[str, object] = {
        "from": "a@example.com", "to": "b@example.com", "subject": "s", "text": "x" * size,
    }  # fmt: skip

    assert score(send_handler, email)["verdict"] == "pass"

    assert (send_handler.thread is not threading.main_thread()) is in_thread
