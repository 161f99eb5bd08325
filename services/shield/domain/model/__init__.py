"""The learned part of shield: what a message says (`text`) and how it is built (`structure`),
summed by hashed weights and then by trees (`margin`), in arrays trained by `bench.shield_model`."""
