"""Tables and queries of delivery. The only SQL here."""
