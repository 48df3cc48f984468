"""How much each unit matters: scores that say which channels go first, given a width."""

from optprune.scores.activation import Activation
from optprune.scores.compensation import Compensation
from optprune.scores.l1 import L1
from optprune.scores.l2 import L2
from optprune.scores.lasso import Lasso
from optprune.scores.oracle import Oracle
from optprune.scores.protocol import Score, ScoreContext, importance_of
from optprune.scores.random import Random
from optprune.scores.taylor import Taylor

__all__ = [
    "L1",
    "L2",
    "Activation",
    "Compensation",
    "Lasso",
    "Oracle",
    "Random",
    "Score",
    "ScoreContext",
    "Taylor",
    "importance_of",
]
