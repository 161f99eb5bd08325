"""The tables of figures: deltas, which batches append, and roll-ups, into which they are folded."""
