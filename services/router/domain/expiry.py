"""The terminal state of an expired message."""

from services.router.domain.message import CloseTransition, ExpiredMessage, MessageRowState


def expire(row: ExpiredMessage) -> CloseTransition:
    """Bounced if a server has replied, failed if no server was ever reached."""
    was_attempted = row.attempt_count > 0 or row.has_reply
    return CloseTransition(
        row.message_id,
        from_state=row.state,
        attempt=row.attempt,
        state=MessageRowState.BOUNCED if was_attempted else MessageRowState.FAILED,
        reason="expired",
        ambiguous=row.ambiguous,
        context=row.context,
        bounce_class="message_expired" if was_attempted else "",
    )
