"""Whether a host name leads to this installation: it responds to a challenge in the path as only a
holder of OBM_SECRET_KEYS can.

    GET /.well-known/host-challenge/0f8fad5bd9cb469fa16570867728950e
    200, and the HMAC of the challenge
"""

import re
import secrets
from collections.abc import Sequence
from hmac import compare_digest

from kernel.crypto import derived_key, keyed_hash
from kernel.http_server import App, Receive, Scope, Send

PATH = "/.well-known/host-challenge/"
CHALLENGE = re.compile(r"[0-9a-f]{32}")
FIELDS = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]


def new_challenge() -> str:
    return secrets.token_hex(16)


class HostChallenges:
    """secret_keys: the first responds, all verify, so that keys can be rotated."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        self._keys = [derived_key(one, "host challenge") for one in secret_keys]

    def response_to(self, challenge: str) -> str:
        return keyed_hash(self._keys[0], challenge).hex()

    def is_response(self, response: str, challenge: str) -> bool:
        responses = [keyed_hash(key, challenge).hex().encode() for key in self._keys]
        return any(compare_digest(response.encode(), one) for one in responses)

    def answered_before(self, app: App) -> App:
        """The application, after one that responds to challenges at every host."""

        async def respond(scope: Scope, receive: Receive, send: Send) -> None:
            challenge = str(scope.get("path", "")).removeprefix(PATH)
            if scope["type"] != "http" or not CHALLENGE.fullmatch(challenge):
                await app(scope, receive, send)
                return
            body = self.response_to(challenge).encode()
            fields = [*FIELDS, (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await send({"type": "http.response.body", "body": body})

        return respond
