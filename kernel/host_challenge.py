"""Whether a host name leads to this installation: it responds to a challenge in the path as only a
holder of OBM_SECRET_KEYS can.

    GET /.well-known/host-challenge/0f8fad5bd9cb469fa16570867728950e
    200, and the HMAC of the challenge

At a host that serves gRPC alone, the same response to the same challenge in the metadata of a call
without a key:

    contracts.ingest.v1.HostChallengeService/Respond, host-challenge: 0f8fad5b…
    google.protobuf.StringValue, with the HMAC

What is no HTTP server responds in words of its own protocol, by a key of its own.
"""

import re
import secrets
from collections.abc import Sequence
from hmac import compare_digest

from kernel.crypto import derived_key, keyed_hash
from kernel.http_server import App, Receive, Scope, Send

PATH = "/.well-known/host-challenge/"
CHALLENGE = re.compile(r"[0-9a-f]{32}")
GRPC_SERVICE, GRPC_NAME = "contracts.ingest.v1.HostChallengeService", "Respond"
GRPC_METHOD = f"/{GRPC_SERVICE}/{GRPC_NAME}"
METADATA = "host-challenge"
HTTP, SMTP = "host challenge", "smtp host challenge"  # purposes of derived keys
FIELDS = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]


def new_challenge() -> str:
    return secrets.token_hex(16)


class HostChallenges:
    """secret_keys: the first responds, all verify, so that keys can be rotated."""

    def __init__(self, secret_keys: Sequence[str], purpose: str = HTTP) -> None:
        self._keys = [derived_key(one, purpose) for one in secret_keys]

    def response_to(self, challenge: str) -> str:
        return self.responses_to(challenge)[0]

    def responses_to(self, challenge: str) -> list[str]:
        """All that are valid, that of the first key first."""
        return [keyed_hash(key, challenge).hex() for key in self._keys]

    def is_response(self, response: str, challenge: str) -> bool:
        given, valid = response.encode(), self.responses_to(challenge)
        return any(compare_digest(given, one.encode()) for one in valid)

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
