"""Tables and queries of router, the only package of it with SQL: arrays in, rows out, one statement
per batch. Times are Unix seconds in Python and timestamptz in PostgreSQL."""
