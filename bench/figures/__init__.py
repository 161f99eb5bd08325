"""`make bench-figures`: what counting costs, and whether figures, searches and streams stay right
and quick beside many messages."""
