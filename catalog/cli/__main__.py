"""`python -m catalog.cli`."""

from catalog.cli import main

main()
