"""`python -m asyncdb_nb.cli`."""

import sys

from asyncdb_nb.cli import main

if __name__ == "__main__":
    sys.exit(main())
