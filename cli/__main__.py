"""`python -m cli` is `obm`."""

from cli.main import main

main()
