"""The standards of email as pure functions: bytes and frozen dataclasses in and out.

No I/O, no clock, no randomness: what a standard needs of those comes as an argument. One module
per standard, its RFC in the docstring.
"""
