"""delivery: consumes DeliveryAssigned, speaks SMTP to the receiver's mail server and emits what it
answered as DeliveryAttempted. Before the final dot it writes a journal, so that no message goes out
twice without being counted. It also runs the sandbox, where test mail ends.
"""
