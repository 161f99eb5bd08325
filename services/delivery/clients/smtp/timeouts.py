"""Timeouts of an SMTP session: RFC 5321 §4.5.3.2."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpTimeouts:
    """In seconds. A short data_done_s causes duplicates at servers that reply slowly."""

    connect_s: float = 30.0
    greeting_s: float = 300.0
    ehlo_s: float = 300.0
    tls_s: float = 60.0
    mail_s: float = 300.0
    rcpt_s: float = 300.0
    data_init_s: float = 120.0
    data_xfer_s: float = 180.0
    data_done_s: float = 600.0
    quit_s: float = 5.0
