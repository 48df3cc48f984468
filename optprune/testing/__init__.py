"""Checks that plug-ins must pass, and small problems with known optima.

Whoever writes an optimizer, a metric, a score or a recovery runs the check of its kind in a test
of their own::

    from optprune.testing import check_optimizer

    def test_my_optimizer_keeps_the_rules():
        check_optimizer(MyOptimizer())
"""

from optprune.testing.conformance import ConformanceError
from optprune.testing.metric import check_metric
from optprune.testing.optimizer import check_optimizer
from optprune.testing.problems import CASES, Case, exhaustive
from optprune.testing.recovery import check_recovery
from optprune.testing.score import check_score
from optprune.testing.surgery import removed_versus_zeroed

__all__ = [
    "CASES",
    "Case",
    "ConformanceError",
    "check_metric",
    "check_optimizer",
    "check_recovery",
    "check_score",
    "exhaustive",
    "removed_versus_zeroed",
]
