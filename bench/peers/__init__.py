"""Other people's mail servers, well configured, given the same messages for the same sink."""
