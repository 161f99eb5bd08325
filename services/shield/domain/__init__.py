"""Screening of a message by rules over what its content holds. Pure."""
