"""Comparing optimizers: the same problems, seeds and budgets, by the same rules.

``op.compare(problems, optimizers, seeds=5, evaluations=300)`` runs everything with everything and
returns a `Comparison`.
"""

import sys
from types import ModuleType

from optprune.compare.compare import compare
from optprune.compare.comparison import Comparison
from optprune.compare.runs import Run

__all__ = ["Comparison", "Run", "compare"]


class _Room(ModuleType):
    """The room itself, which may be called like the function of its name.

    Whoever imports the room first finds it where ``optprune.compare`` is looked up.
    """

    __call__ = staticmethod(compare)


sys.modules[__name__].__class__ = _Room
