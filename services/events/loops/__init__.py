"""Background loops of events: webhook deliveries, and retention."""
