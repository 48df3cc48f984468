"""Moments of what reaches a network's layers: means, second moments, and cross moments.

One forward pass over unlabelled samples gives all that closed-form pruning needs: least squares,
compensation-aware and LASSO selection, and the quadratic form of layer-wise errors read the same
object. Scores and recoveries both stand on it, so it lies below them.
"""

from optprune.moments.collecting import LayerMoments, Sample, collect
from optprune.moments.moments import Moments
from optprune.moments.rows import LayerRows, row_layers
from optprune.moments.unit_gram import unit_gram

__all__ = ["LayerMoments", "LayerRows", "Moments", "Sample", "collect", "row_layers", "unit_gram"]
