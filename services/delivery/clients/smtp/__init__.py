"""SMTP as a client: aiosmtplib connects, greets and secures; the session after that is ours."""
