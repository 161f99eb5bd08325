"""The decisions of delivery; pure."""
