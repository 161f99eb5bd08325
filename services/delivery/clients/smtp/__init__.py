"""SMTP as a client: aiosmtplib connects, greets and secures; the dialogue after that is ours."""
