"""Campaigns, and what was learned from them."""
