"""What ingest decides: is it valid, may this key send it, is it express or bulk."""
