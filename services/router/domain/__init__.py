"""The decisions of router. Pure: no I/O, no clock, no randomness. Times are Unix seconds."""
