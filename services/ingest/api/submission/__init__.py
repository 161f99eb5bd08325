"""Submission by SMTP (RFC 6409), with STARTTLS or implicit TLS (RFC 8314)."""
