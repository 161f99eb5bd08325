"""What becomes of a message whose time is up."""

from services.router.domain.message import Closing, Open, State


def expire(row: Open) -> Closing:
    """Bounced where a receiver had answered, failed where nobody was ever asked."""
    tried = row.tries > 0 or row.answered
    return Closing(
        row.message_id,
        was=row.state,
        attempt=row.attempt,
        state=State.BOUNCED if tried else State.FAILED,
        reason="expired",
        ambiguous=row.ambiguous,
        envelope=row.envelope,
        bounce_class="message_expired" if tried else "",
    )
