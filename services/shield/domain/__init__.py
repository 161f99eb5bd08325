"""Screening of a message: rules as data over the features of its content. Pure."""
