"""Other mail servers, well configured, which send the same messages to the same sink."""
