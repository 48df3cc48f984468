"""The command ``optprune``: `demo`, `solve`, `show` and `plugins`."""

from optprune.cli.command import main

__all__ = ["main"]
