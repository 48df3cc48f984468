"""Ready-made cases: trained networks with their data, and pruning problems on them.

Each module has ``task()``, the trained network with its data, and ``problem(**changes)``, a pruning
problem on it with sensible choices.
"""

from optprune.problems import digits, fashion, regression

__all__ = ["digits", "fashion", "regression"]
