"""Pictures from DataFrames and arrays: pure functions that return matplotlib axes.

No function touches pyplot: a picture is freed when it is dropped, and ``ax.figure`` shows itself
in a notebook. matplotlib is imported when a picture is drawn.
"""

from optprune.plots.anytime import anytime
from optprune.plots.attainment import attainment
from optprune.plots.convergence import convergence
from optprune.plots.coupling import coupling
from optprune.plots.dependence import dependence
from optprune.plots.effects import effects
from optprune.plots.ensemble import ensemble, ensembles
from optprune.plots.front import front
from optprune.plots.groups import groups
from optprune.plots.parallel import parallel
from optprune.plots.ranks import ranks
from optprune.plots.sensitivity import sensitivity
from optprune.plots.structure import structure
from optprune.plots.structures import structures
from optprune.plots.targets import targets

__all__ = [
    "anytime",
    "attainment",
    "convergence",
    "coupling",
    "dependence",
    "effects",
    "ensemble",
    "ensembles",
    "front",
    "groups",
    "parallel",
    "ranks",
    "sensitivity",
    "structure",
    "structures",
    "targets",
]
