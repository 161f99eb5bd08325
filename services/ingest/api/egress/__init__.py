"""Egress sources, their warmups, and overrides: what operators do by the API. The router owns
them."""
