"""What router decides. Pure: no I/O, no clock, no randomness. Times are Unix seconds."""
