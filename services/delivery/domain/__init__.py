"""The decisions of delivery. Pure."""
