"""A mail server that takes everything, fast, and can say afterwards exactly what it took.

The same sink stands behind the engine, its peers and the fault oracle. It counts by recipient and
Message-ID, keeps whole messages as a sample, writes a line per message on request, and misbehaves
on demand when the local part of a recipient asks for it.
"""
