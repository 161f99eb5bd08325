"""Background loops of delivery: the dispatcher, recovery, and the maintenance of partitions."""
