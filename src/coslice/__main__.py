"""`python -m coslice` is the `coslice` command."""

from coslice.cli import main

main()
