"""Other people's machines: name servers and mail servers."""
