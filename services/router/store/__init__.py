"""Tables and queries of router. The only package here that speaks SQL: arrays in, rows out, a
statement per batch. Times are Unix seconds on this side, timestamptz on the other."""
