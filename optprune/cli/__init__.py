"""The command ``optprune``: `demo`, `solve` and `show`."""

from optprune.cli.command import main

__all__ = ["main"]
