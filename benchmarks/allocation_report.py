"""What the benchmark of allocation found, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from allocation_instances import INSTANCES
from allocation_rivals import STARTS
from allocation_solves import COMPARED, STAGES, STEPS
from reporting import markdown
from rows import Row

TASTES = {
    "nHSIC, log x": "hsic",
    "equal importance, log x": "equal",
    "uniform": "uniform",
    "projection, Σ (1 - x)²": "projection",
    "nHSIC, Σ I x (local optimum)": "linear",
}
"""How ResNet-50 is narrowed in the last table."""


def report(rows: dict[str, Row]) -> str:
    """Write all tables."""
    tables = [programs(rows), rivals(rows), *(integers(rows, step) for step in STEPS)]
    return "\n\n".join(filter(None, [*tables, times(rows), kept(rows)]))


def milliseconds(seconds: Sequence[float]) -> str:
    """Write the median of times in milliseconds."""
    return f"{1000 * float(np.median(seconds)):.0f}"


def small(value: float) -> str:
    """Write a small number; none at all as 0."""
    return f"{value:.0e}" if value else "0"


def transposed(
    title: str,
    found: Sequence[Row | None],
    lines: Sequence[tuple[str, Callable[[Row], str]]],
) -> str:
    """Write a table with a column for each instance."""
    if not any(found):
        return ""
    body = [[name, *("" if row is None else cell(row) for row in found)] for name, cell in lines]
    return markdown([title, *INSTANCES], body)


def programs(rows: dict[str, Row]) -> str:
    """Times and certificates of the convex program."""
    return transposed(
        "convex program, log x",
        [rows.get(f"program/{n}") for n in INSTANCES],
        [
            ("groups", lambda r: str(r["groups"])),
            ("monomials of the MACs", lambda r: str(r["monomials"])),
            ("first solve, ms", lambda r: milliseconds([r["first"]])),
            ("another budget, ms: median of 50", lambda r: milliseconds(r["seconds"])),
            (
                "… slowest (asked: ≤ 50 up to 60 groups, ≤ 500 at 500)",
                lambda r: milliseconds([max(r["seconds"])]),
            ),
            ("KKT residual, largest (asked: ≤ 1e-4)", lambda r: small(r["kkt"])),
            ("certified gap / utility, largest", lambda r: small(r["gap"])),
            ("over the budget, largest, relative (asked: ≤ 0)", lambda r: small(r["excess"])),
            ("… before it is pulled back", lambda r: small(r["overshoot"])),
            ("inaccurate by the solver's word, of 50", lambda r: str(r["inaccurate"])),
            (
                "a larger budget narrows a group by, of dense, at most",
                lambda r: small(r["shrinks"]),
            ),
            ("importance × 1e-8 moves a width by, units", lambda r: small(r["scaled"])),
        ],
    )


def rivals(rows: dict[str, Row]) -> str:
    """SLSQP beside the convex program."""
    return transposed(
        f"SLSQP, {STARTS} starts, 50 % of the MACs",
        [rows.get(f"slsqp/{n}") for n in INSTANCES],
        [
            ("says that it converged", lambda r: str(r["converged"])),
            ("ended within 1e-6 of the budget", lambda r: str(r["feasible"])),
            ("… within 1e-6 of its best utility", lambda r: str(r["near"])),
            (
                "optprune's utility less its best, relative (asked: ≥ 0)",
                lambda r: f"{(r['own'] - r['best']) / abs(r['best']):+.0e}",
            ),
            (
                "… less its worst",
                lambda r: f"{(r['own'] - r['worst']) / abs(r['best']):+.0e}",
            ),
            ("a start, ms: median", lambda r: milliseconds(r["seconds"])),
            ("all starts, s", lambda r: f"{sum(r['seconds']):.1f}"),
            ("importance × 1e-8 moves a width by, units", lambda r: f"{r['scaled']:.0f}"),
        ],
    )


def integers(rows: dict[str, Row], step: int) -> str:
    """Times and gaps of integer widths."""

    def cell(name: str, text: str) -> Callable[[Row], str]:
        return lambda row: text.format(row[str(step)][name])

    return transposed(
        f"integer widths, step {step}, 50 % of the MACs",
        [rows.get(f"integer/{n}") for n in INSTANCES],
        [
            ("seconds", cell("seconds", "{:.2f}")),
            ("certified gap / utility", cell("gap", "{:.4%}")),
            ("over the budget, relative (asked: ≤ 0)", cell("excess", "{:.0e}")),
        ],
    )


def times(rows: dict[str, Row]) -> str:
    """ResNet-50 as published: seconds after the forward pass."""
    row = rows.get("headline")
    if row is None:
        return ""
    header = ["ResNet-50, 45.3 % fewer MACs, seconds after the forward pass", "step 1", "step 8"]
    steps = [row[str(step)] for step in STEPS]
    totals = [row["dependence"] + step["program"] + step["integer"] for step in steps]
    return markdown(
        header,
        [
            [f"dependence of 37 groups, {COMPARED} samples", *[f"{row['dependence']:.2f}"] * 2],
            *(
                [["… with the Gaussian kernel", *[f"{row['gaussian']:.2f}"] * 2]]
                if "gaussian" in row
                else []
            ),
            ["convex program", *(f"{step['program']:.2f}" for step in steps)],
            ["integer widths", *(f"{step['integer']:.2f}" for step in steps)],
            ["together (asked: < 2)", *(f"{total:.2f}" for total in totals)],
            ["certified gap / utility", *(f"{step['gap']:.4%}" for step in steps)],
            ["once a process: importing cvxpy", *[f"{row['import']:.2f}"] * 2],
        ],
    )


def kept(rows: dict[str, Row]) -> str:
    """ResNet-50 as published: keep-ratios by stage."""
    header = ["mean keep-ratio at 54.7 % of the MACs", *STAGES, "narrowest", "MACs"]
    lines = []
    for name, taste in TASTES.items():
        row = rows.get(f"stages/{taste}")
        if row is not None:
            cells = [*row["ratios"].values(), row["narrowest"]]
            lines.append([name, *(f"{cell:.2f}" for cell in cells), f"{row['macs']:.1%}"])
    if not lines:
        return ""
    said = []
    if "stages/linear" in rows:
        row = rows["stages/linear"]
        said.append(
            f"The linear objective leaves {row['bound']} of {row['groups']} widths at a bound, "
            f"{row['least']} of them at one unit; no widths have a sum that is more than "
            f"{row['gap']:.2%} larger."
        )
    if "stages/hsic" in rows:
        low, high = rows["stages/hsic"]["importance"]
        said.append(f"The nHSIC importances lie between {low:.2f} and {high:.2f}.")
    return "\n\n".join(filter(None, [markdown(header, lines), " ".join(said)]))
