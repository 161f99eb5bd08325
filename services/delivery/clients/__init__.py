"""Clients of name servers and of receiving servers."""
