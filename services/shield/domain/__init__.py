"""Screening of a message by rules over the features of its content. Pure."""
