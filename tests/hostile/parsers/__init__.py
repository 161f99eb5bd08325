"""What reads it: READERS, by name. Each returns, or raises a ValueError of its own."""
