# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Which optimizer? Comparing them by the same rules
#
# optprune has some thirty optimizers. Which one is good for your network depends on the network, on
# how much you can pay, and a single run says little: with another seed the order may turn.
# `op.compare` runs several of them on the same problem with the same seeds and the same budget, and
# says what the runs show and what they do not.

# %%
import os
import tempfile
from pathlib import Path

import pandas as pd
import torch
from IPython.display import Markdown

import optprune as op

torch.set_num_threads(1)  # this network is so small that a second thread only costs
BUDGET = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))
EVALUATIONS, SEEDS = (80, 10) if BUDGET >= 300 else (10, 2)
workspace = tempfile.TemporaryDirectory()  # yours would be a folder that stays
FOLDER = Path(workspace.name) / "comparison"

# %% [markdown]
# ## 1. Who takes part
# The problem is that of the quick start: least error at least MACs, for a small classifier of
# digits. The optimizers are of different kinds:
#
# - `NSGA2`, of pymoo, and `DeapNSGA2`: genetic algorithms, which evolve a population of networks;
# - `HSICAllocation`: a convex program that says which widths to take for three budgets. It looks at
#   how much the layers depend on each other, and evaluates nothing but the three answers;
# - both in turn: an `NSGA2` whose first population holds those three (`seeded_by=`).
#
# `Random` and `UniformWidths` join by themselves: what does not beat them is not worth its name.
# Names are up to you; without a mapping, each has its own.

# %%
problem = op.problems.digits.problem()
allocation = op.optimizers.HSICAllocation((0.6, 0.4, 0.25))
optimizers = {
    "NSGA2": op.optimizers.NSGA2(population=8),
    "NSGA2, warm": op.optimizers.NSGA2(population=8, seeded_by=allocation),
    "DeapNSGA2": op.optimizers.DeapNSGA2(population=8),
    "HSIC": allocation,
}
problem

# %% [markdown]
# ## 2. A first look: two seeds
# One call. With a folder, every run keeps a journal in it: killed half-way, the same call goes on
# where it was. With `workers=2` two runs go on at once, each in a process of its own, with the same
# result. Seconds are then those of a shared machine; here they are to be compared, so runs go one
# after the other.

# %%
first = op.compare(
    problem, optimizers, seeds=2, evaluations=EVALUATIONS, folder=FOLDER, progress=False
)
first

# %% [markdown]
# The measure of a trade-off is its hypervolume: how much of the plane of error and MACs the front
# leaves behind it, more is better. The table has an order. Is it one that two seeds can show?

# %%
columns = ["first", "second", "pairs", "better", "worse", "verdict"]
first.statistics()[columns].head(6).style.hide(axis="index")

# %% [markdown]
# It is not, and no outcome of two seeds could be: a test of two pairs that both point one way gives
# p = 0.5. The verdict says how many seeds it would take for all these comparisons at once.
#
# ## 3. More seeds
# The same call with more seeds and the same folder. What is there is read, what is missing is run.

# %%
comparison = op.compare(
    problem, optimizers, seeds=SEEDS, evaluations=EVALUATIONS, folder=FOLDER, progress=False
)
comparison

# %% [markdown]
# ## 4. What does it cost to get there?
# The curves are medians over the seeds. A marker stands where the runs ended: the allocation after
# three evaluations, the sweep when it ran out of uniform widths. The thin line behind it is what
# they had.

# %%
comparison.plot(kind="anytime").figure

# %% [markdown]
# Counted in evaluations, a method that needs three of them looks nearly free. It is not: the
# allocation sends samples through the network before it knows anything, and they are paid for. So
# here are the same runs against samples in forward and backward passes, and against seconds. (The
# recovery's and the measurement's own passes count as well; seconds are those of this machine, and
# of what else ran on it.)

# %%
comparison.plot(kind="anytime", cost="samples").figure

# %%
comparison.plot(kind="anytime", cost="seconds").figure


# %% [markdown]
# Or as a table: the median hypervolume after so many evaluations, and after as many samples as the
# cheapest method took in all, as half of the dearest did, and as the dearest did.


# %%
def medians(cost, points):
    """Return the median over the seeds at several costs, a row an optimizer."""
    tables = {}
    for point in points:
        values = comparison.values(cost=cost, at=point)
        tables[f"{point:,.0f} {cost}"] = values.groupby("optimizer", sort=False)["value"].median()
    return pd.DataFrame(tables)


spent = comparison.runs.groupby("optimizer")["samples"].median()
by_cost = pd.concat(
    [
        medians("evaluations", [3, EVALUATIONS // 4, EVALUATIONS // 2, EVALUATIONS]),
        medians("samples", [spent.min(), spent.max() / 2, spent.max()]),
    ],
    axis=1,
)
by_cost.style.format("{:.3f}").highlight_max(props="font-weight: bold; color: #0072B2")

# %%
ahead = by_cost.idxmax()
Markdown("\n".join(f"- after {cost}: **{name}** is ahead" for cost, name in ahead.items()))

# %% [markdown]
# Which of these leads is more than luck is for section 7 to say.
#
# ## 5. Where are they better?
# Hypervolume is one number; a front has two ends. The line is what half of an optimizer's runs
# attained, the band lies between what one of them did and what all did. Where two bands lie upon
# each other, the choice of the optimizer hardly matters.

# %%
comparison.plot(kind="attainment").figure

# %% [markdown]
# Read off at some sizes: the least error with at most so many MACs, median and quartiles over the
# runs ("none" where they had found nothing), and how many of them found a network that small.

# %%
bounds = [op.metrics.macs <= share for share in (0.5, 0.3, 0.15)]
within = comparison.within(*bounds)
shown = pd.DataFrame(
    {
        "optimizer": within["optimizer"],
        "within": within["within"],
        "error": [
            f"{row.median:.2%} ({row.lower:.2%} to {row.upper:.2%})".replace("nan%", "none")
            for row in within.itertuples()
        ],
        "found": [f"{row.found} of {row.runs}" for row in within.itertuples()],
    }
)
shown.pivot(index="optimizer", columns="within", values=["error", "found"]).reindex(
    index=list(comparison.optimizers),
    columns=[(kind, str(bound)) for kind in ("error", "found") for bound in bounds],
)

# %% [markdown]
# ## 6. How many targets are reached?
# A target is a value of the hypervolume; there are 31, from what the worst run began with to next
# to the best that any found. The curve is the share of them that an optimizer's runs had reached by
# then. Shares of several problems can be averaged, hypervolumes cannot: that is what `op.compare`
# draws when it is given several.

# %%
comparison.plot(kind="targets", cost="samples").figure

# %% [markdown]
# ## 7. What is more than luck?
# Average ranks over the seeds, the best on the left. A bar connects those that were not shown to
# differ by more than the critical difference, given so many at once.

# %%
comparison.plot(kind="ranks").figure

# %% [markdown]
# And every two of them: in how many seeds the first was better, the median difference, two effect
# sizes (the rank-biserial correlation is 1 if the first was better in all pairs and -1 if in none;
# A12 is the chance that a run of the first beats one of the second), and Wilcoxon's test, corrected
# for the number of comparisons (Holm).

# %%
statistics = comparison.statistics()
statistics.style.format(precision=3).hide(axis="index")

# %%
shown_better = statistics[statistics["p_holm"] < 0.05]
open_ones = statistics.drop(shown_better.index)


def pairs(table):
    return "; ".join(f"{row.first} and {row.second}" for row in table.itertuples()) or "none"


Markdown(
    f"With {SEEDS} seeds, **{len(shown_better)} of {len(statistics)}** differences are more than "
    f"luck. What the tests say: {', '.join(sorted(set(shown_better['verdict']))) or 'none'}.\n\n"
    f"Not told apart: {pairs(open_ones)}."
)

# %% [markdown]
# Two warnings belong to such a table. Seeds of one problem say something about this problem, not
# about your network: compare there, or on several problems. And "no difference shown" is no proof
# that there is none.
#
# ## 8. Does the warm start pay?
# The two `NSGA2` differ in their first population only. At every budget: in how many seeds was the
# warm one ahead?

# %%
rows = []
for point in (3, 10, EVALUATIONS // 4, EVALUATIONS // 2, EVALUATIONS):
    found = comparison.statistics(at=point)
    row = found[(found["first"] == "NSGA2") & (found["second"] == "NSGA2, warm")].iloc[0]
    rows.append(
        {
            "evaluations": point,
            "warm ahead": f"{row['worse']} of {row['pairs']}",
            "median gain": -row["difference"],
            "verdict": row["verdict"],
        }
    )
pd.DataFrame(rows).style.format({"median gain": "{:+.3f}"}).hide(axis="index")

# %% [markdown]
# Each line looks at the same runs at another time, so these are not five independent findings. And
# the warm start is no gift: in samples it stands in section 4 with the cost of its allocation.
#
# ## 9. One objective, and an optimizer that cannot
# Not every optimizer fits every problem: simulated annealing minimizes one number. Here it runs on
# two problems. One has two objectives; the other asks for the least error with at most a quarter of
# the MACs. What fails is a row with its reason, and everything else goes on.

# %%
small = op.problems.digits.problem(
    objectives=[op.metrics.error], subject_to=[op.metrics.macs <= 0.25]
)
mixed = op.compare(
    {"trade-off": problem, "at most 25 %": small},
    {
        "annealing": op.optimizers.SimulatedAnnealing(first=6),
        "NSGA2": op.optimizers.NSGA2(population=8),
    },
    seeds=2,
    evaluations=EVALUATIONS // 2,
    references=False,
    progress=False,
)
mixed.runs[["problem", "optimizer", "seed", "evaluations", "front", "reason"]].style.hide(
    axis="index"
)

# %%
mixed.plot("at most 25 %").figure

# %% [markdown]
# Where there is one objective, it is the measure, and less is better. Two seeds each: which of the
# two is better at this is left open, as in section 2.

# %% [markdown]
# ## 10. Keeping it
# `to_html` writes one page with every figure and table, which needs no network and no other file;
# `to_csv` writes every evaluated candidate. The folder itself can be loaded, or gone on with. Every
# run is a whole result: its front, its networks.

# %%
page = comparison.to_html(FOLDER.parent / "comparison.html", within=bounds)
table = comparison.to_csv(FOLDER.parent / "comparison.csv")
for path in (page, table):
    print(f"{path.name}: {path.stat().st_size / 1e3:,.0f} kB")
again = op.Comparison.load(FOLDER, problem)
print("loaded:", len(again.log), "candidates in", len(again.runs), "runs")
best = again.result("digits", "NSGA2, warm", 0).select(op.metrics.macs <= 0.3)
print(best, "of class", type(best.network()).__name__)

# %% [markdown]
# ## Where to go from here
# - Your own problem, or several: `op.compare([one, other], …)`.
# - Your own optimizer is a loop around `session.evaluate`; see
#   [06_plug_in_an_objective](06_plug_in_an_objective.ipynb).
# - Budgets in samples or seconds: `op.compare(…, samples=100_000)`.
