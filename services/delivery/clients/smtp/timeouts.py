"""How long to wait for a mail server: RFC 5321 §4.5.3.2."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. A short wait for the answer to the dot makes duplicates of slow deliveries."""

    connect_s: float = 30.0
    greeting_s: float = 300.0
    ehlo_s: float = 300.0
    tls_s: float = 60.0
    mail_s: float = 300.0
    rcpt_s: float = 300.0
    data_s: float = 120.0
    block_s: float = 180.0
    dot_s: float = 600.0
    quit_s: float = 5.0
