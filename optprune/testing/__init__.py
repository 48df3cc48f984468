"""Checks that plug-ins must pass, and small problems with known optima.

Whoever writes an optimizer, a space, a metric, a score, a recovery, a trainer or a rule for an
operation runs the check of its kind in a test of their own::

    from optprune.testing import check_optimizer

    def test_my_optimizer_keeps_the_rules():
        check_optimizer(MyOptimizer())

`check_surgery` asks the same of surgery on a network of one's own.
"""

from optprune.testing.conformance import ConformanceError
from optprune.testing.metric import check_metric
from optprune.testing.optimizer import check_optimizer
from optprune.testing.problems import CASES, Case, exhaustive
from optprune.testing.recovery import check_recovery
from optprune.testing.score import check_score
from optprune.testing.space import check_space
from optprune.testing.surgery import check_rule, check_surgery, removed_versus_zeroed
from optprune.testing.trainer import check_trainer

__all__ = [
    "CASES",
    "Case",
    "ConformanceError",
    "check_metric",
    "check_optimizer",
    "check_recovery",
    "check_rule",
    "check_score",
    "check_space",
    "check_surgery",
    "check_trainer",
    "exhaustive",
    "removed_versus_zeroed",
]
