"""What strangers send: TEXTS (str) and BODIES (bytes), by name, a file per kind."""
