"""`obm`: the command line, a file per noun."""
