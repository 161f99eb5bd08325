"""`python -m cli` runs `obm`."""

from cli.main import main

main()
