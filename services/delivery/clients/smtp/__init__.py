"""The SMTP client: aiosmtplib connects and starts TLS; SmtpSession runs the session after EHLO."""
