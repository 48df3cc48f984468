"""``python -m optprune`` is the command ``optprune``."""

import sys

from optprune.cli import main

if __name__ == "__main__":
    sys.exit(main())
