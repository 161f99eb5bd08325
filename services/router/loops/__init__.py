"""Timers and pumps: what router does when nobody calls."""
