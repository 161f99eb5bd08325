"""Where we do not follow Sisimai's labels."""

# It calls them filtered, but they say that the address does not exist.
GONE_BY_THEIR_TEXT = ("lhost-exchange2003-04", "lhost-x2-01", "rfc3464-42")


def is_gone_by_its_text(bounce_id: str) -> bool:
    return any(name in bounce_id for name in GONE_BY_THEIR_TEXT)
