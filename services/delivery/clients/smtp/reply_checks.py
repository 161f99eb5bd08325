"""What a reply means for the session, apart from the message."""

from mail.smtp_reply import Reply
from services.delivery.domain.attempt_result import MAIL, RCPT, AttemptResult

RSET = "rset"
BAD_SEQUENCE = 503  # RFC 5321 §4.2.2
PARAMETERS_REFUSED = frozenset((501, 504, 555))  # or the command itself


class SessionBroken(Exception):
    """The connection ended or timed out, or the server did not speak SMTP; the text says which."""


def may_refuse_parameters(result: AttemptResult) -> bool:
    """Whether the server may have refused a command for its parameters (RFC 5321 §4.2.2)."""
    refused_at = result.step in (MAIL, RCPT)
    return refused_at and result.reply is not None and result.reply.code in PARAMETERS_REFUSED


def check_sequence_reply(step: str, reply: Reply) -> None:
    """Raises SessionBroken for a reply that concerns the connection, and not the message."""
    if step == RSET and not reply.is_positive:  # the transaction of an earlier message is open
        raise SessionBroken(f"the server refused RSET: {reply}")
    if reply.code == BAD_SEQUENCE:
        raise SessionBroken(f"the server reported a bad sequence of commands: {reply}")
