"""Pumps and timers: the sender, the renewal of its epoch, recovery, the sweeps of what is old."""
