"""Search: the one place where candidates are evaluated, counted, cached and stopped."""

from optprune.search.budget import Budget
from optprune.search.choice import Choice
from optprune.search.evaluations import Evaluations
from optprune.search.executor import Executor, Job, Payload, Serial
from optprune.search.finishing import Finished
from optprune.search.journal import Journal
from optprune.search.minimization import WORST, to_minimization
from optprune.search.nondominated import hypervolume, nondominated
from optprune.search.optimizer import Optimizer
from optprune.search.processes import Processes
from optprune.search.result import Result
from optprune.search.row import Row
from optprune.search.session import Session
from optprune.search.solve import solve

__all__ = [
    "WORST",
    "Budget",
    "Choice",
    "Evaluations",
    "Executor",
    "Finished",
    "Job",
    "Journal",
    "Optimizer",
    "Payload",
    "Processes",
    "Result",
    "Row",
    "Serial",
    "Session",
    "hypervolume",
    "nondominated",
    "solve",
    "to_minimization",
]
