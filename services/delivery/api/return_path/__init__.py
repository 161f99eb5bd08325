"""The return path: takes mail that comes back from port 25, and answers with no mail."""
