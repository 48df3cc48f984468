"""Widths from convex programs: seconds, certificates, and SciPy's SLSQP on the same problems.

Run ``make benchmark`` or ``python benchmarks/allocation.py``; ``--only`` runs some. The instances
are in ``allocation_instances.py``, what is measured on them in ``allocation_solves.py`` and
``allocation_rivals.py``. A row that is there already is not measured again without ``--again``, so
that an interrupted run goes on. Writes ``benchmarks/results/allocation.json`` and the tables in
``benchmarks/README.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from allocation_instances import INSTANCES
from allocation_report import TASTES, report
from allocation_rivals import rivalled
from allocation_solves import headline, programmed, stages, whole
from rows import Row, measure_rows

PACKAGES = ("optprune", "cvxpy", "clarabel", "scipy", "torch", "torchvision", "numpy")

ROWS: dict[str, Callable[[], Row]] = {
    **{f"program/{n}": partial(programmed, n) for n in INSTANCES},
    **{f"integer/{n}": partial(whole, n) for n in INSTANCES},
    **{f"slsqp/{n}": partial(rivalled, n) for n in INSTANCES},
    "headline": headline,
    **{f"stages/{taste}": partial(stages, taste) for taste in TASTES.values()},
}


def main() -> None:
    """Measure what is missing, print, and write."""
    measure_rows("allocation", __doc__.splitlines()[0], ROWS, PACKAGES, report)


if __name__ == "__main__":
    main()
