"""How wide each group of a network should be under budgets: mathematical programs on numbers alone.

Costs are posynomials in the widths (`optprune.surgery.CostPolynomial`); what a width is worth is a
utility of importances, or a table of losses. No network and no data are seen here:

- `Program`: real widths of the most utility, a convex program in the logarithms of the widths;
- `allocate`: integer widths near its optimum;
- `TableProgram`: integer widths of the least tabulated loss;
- `SignomialProgram`: the sum of importance times keep-ratio, which is not convex: local optima.

Every result comes with a bound that holds without trust in a solver, with the prices of the
budgets, and with its true costs, which are never over::

    program = Program({"macs": graph.costs.macs}, importance)
    half = program.solve({"macs": 0.5 * graph.costs.macs.dense})
    half.widths, half.gap, half.prices["macs"]
"""

from optprune.allocation.certificate import Relaxed
from optprune.allocation.integer import Allocation, allocate, allocate_values
from optprune.allocation.program import Program
from optprune.allocation.signomial import Condensed, SignomialProgram
from optprune.allocation.tables import TableProgram
from optprune.allocation.utilities import Inverse, Linear, Log, Saturating, Utility

__all__ = [
    "Allocation",
    "Condensed",
    "Inverse",
    "Linear",
    "Log",
    "Program",
    "Relaxed",
    "Saturating",
    "SignomialProgram",
    "TableProgram",
    "Utility",
    "allocate",
    "allocate_values",
]
