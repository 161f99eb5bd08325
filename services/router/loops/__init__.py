"""Timers and background loops of router."""
