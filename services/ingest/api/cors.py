"""Scripts of other sites (CORS, the Fetch standard): none may call but those that are named."""

from starlette.middleware.cors import CORSMiddleware

from services.ingest.api.http import Receive, Scope, Send
from services.ingest.api.http_app import App

EXPOSED = [
    "location", "retry-after", "x-request-id", "idempotent-replayed",
    "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
]  # fmt: skip


def with_cors(app: App, origins: list[str]) -> App:
    """origins: https://app.example.net, or * for all."""
    if not origins:
        return app

    async def in_parts(scope: Scope, receive: Receive, send: Send) -> None:
        """The fields are added to what is sent: a response in one piece would bypass them."""
        await app({**scope, "extensions": {}}, receive, send)

    return CORSMiddleware(
        in_parts,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
