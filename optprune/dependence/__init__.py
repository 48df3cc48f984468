"""Statistical dependence between the representations of a network's groups.

The Hilbert-Schmidt independence criterion (HSIC) says how much what one group of channels holds
tells of what another holds, of the inputs, and of the labels, from one forward pass.
"""

from optprune.dependence.dependence import Dependence
from optprune.dependence.dependence_map import DependenceMap
from optprune.dependence.gram import category_gram, gaussian_gram, linear_gram
from optprune.dependence.hsic import hsic, normalized

__all__ = [
    "Dependence",
    "DependenceMap",
    "category_gram",
    "gaussian_gram",
    "hsic",
    "linear_gram",
    "normalized",
]
