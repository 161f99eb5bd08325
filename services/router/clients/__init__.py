"""Clients of name servers, and of the journal of delivery."""
