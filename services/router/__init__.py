"""router consumes MessageScreened, DeliveryAttempted, bounces and complaints; decides from which
address, to which hosts and when a message may leave; emits DeliveryAssigned, MessageDelayed and
MessageClosed. It alone owns the state of a message."""
