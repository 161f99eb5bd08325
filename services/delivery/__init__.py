"""delivery: consumes DeliveryAssigned, speaks SMTP to the receiver's mail server and emits what it
answered as DeliveryAttempted. Before end of data it writes a journal, so that every possible
duplicate is flagged. It also runs the sandbox, where test mail ends.
"""
