"""Whether the SMTP server at a host is the return path of this installation: it replies to a
recipient that is a challenge as only a holder of OBM_SECRET_KEYS can.

    RCPT TO:<challenge+0f8fad5bd9cb469fa16570867728950e@mx.example.com>
    550 5.1.1 <the HMAC of the challenge in hexadecimal>

It is a refusal, because nothing could be done with a message. The text of a reply is free (RFC 5321
§4.2), and a subaddress (RFC 5233) is an ordinary local part.
"""

from collections.abc import Iterable

from kernel.host_challenge import CHALLENGE

PREFIX = "challenge"


def challenge_address(challenge: str, host: str) -> str:
    return f"{PREFIX}+{challenge}@{host}"


def challenge_in(local: str) -> str:
    """The challenge in a local part; empty if there is none."""
    prefix, _, challenge = local.lower().partition("+")
    return challenge if prefix == PREFIX and CHALLENGE.fullmatch(challenge) else ""


def reply_with(response: str) -> str:
    return f"550 5.1.1 {response}"


def is_reply_with(reply: str, responses: Iterable[str]) -> bool:
    """Whether the reply has one of the responses."""
    return reply.startswith("550 ") and not set(responses).isdisjoint(reply.split())
