"""The standards of email as pure functions: bytes and frozen dataclasses in and out.

No I/O, no clock, no randomness: they are passed as arguments where a standard needs them. One
module per standard, with its RFC in the docstring.
"""
