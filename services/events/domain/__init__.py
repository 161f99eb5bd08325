"""The decisions of events: log events, message state, and the events that tenants receive. Pure."""
