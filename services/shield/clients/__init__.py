"""Clients of the screening child, and of name servers."""
