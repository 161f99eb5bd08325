"""delivery consumes DeliveryAssigned, sends the message to the receiving server by SMTP and emits
the result as DeliveryAttempted. It writes a journal before end of data, so that every possible
duplicate is flagged. It also runs the sandbox, which captures test mail.
"""
