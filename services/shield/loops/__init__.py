"""Timers, and the learner."""
