"""What events decides: what a fact says, how facts become a state, what a tenant is told. Pure."""
