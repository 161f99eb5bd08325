"""Training and measuring the model of shield: `make shield-model`, `make bench-shield`."""
