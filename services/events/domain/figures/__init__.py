"""The figures of mail: what is counted, and how the events of a message are counted."""
