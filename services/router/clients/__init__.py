"""Other people's machines: name servers, and delivery's journal."""
