"""Loads, peers and recorded results: the throughput of the engine compared with other mail
servers."""
