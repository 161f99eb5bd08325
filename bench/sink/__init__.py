"""A fast mail server that accepts everything and reports exactly what it received.

The same sink serves the engine, its peers and the fault tests. It counts by recipient and
Message-ID, samples messages, logs a line per message on request, and misbehaves if the local part
of a recipient asks for it.
"""
