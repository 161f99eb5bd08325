"""CORS (the Fetch standard): only scripts of the configured origins can call the API."""

from starlette.middleware.cors import CORSMiddleware

from kernel.http_server import App, Receive, Scope, Send

EXPOSED = [
    "location", "retry-after", "x-request-id", "idempotent-replayed",
    "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
]  # fmt: skip


def with_cors(app: App, origins: list[str]) -> App:
    """origins: for example https://app.example.net, or * for all."""
    if not origins:
        return app

    async def in_parts(scope: Scope, receive: Receive, send: Send) -> None:
        """Disable the response extension: it would bypass the middleware, which adds the CORS
        fields."""
        await app({**scope, "extensions": {}}, receive, send)

    return CORSMiddleware(
        in_parts,
        allow_origins=origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
    )
