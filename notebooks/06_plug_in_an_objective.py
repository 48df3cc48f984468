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
# # An objective of your own
#
# Error and MACs are easy to count. What you need may be something else: milliseconds on your
# machine, energy, an answer that noise does not turn, no class that is left behind. Anything that
# can be computed from a candidate can be an objective or a constraint: decorate a function.
#
# This notebook writes four of them, from the structure, the network and the predictions; checks
# them; searches with three objectives and a constraint of its own; and asks of the front what it
# says. At the end, an optimizer of one's own is a plain loop.

# %%
import os
import statistics
import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

import optprune as op
from optprune.search import nondominated, to_minimization
from optprune.testing import CASES, ConformanceError, check_metric, check_optimizer

torch.set_num_threads(1)  # this network is so small that a second thread only costs
BUDGET = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))
EVALUATIONS = 400 if BUDGET >= 300 else 24

task = op.problems.digits.task()
graph = op.trace(task.network, task.example)

# %% [markdown]
# ## 1. From the structure: energy
# Moving data costs more than computing with it. A proxy after Horowitz (2014, a 45 nm process): a
# multiplication with its addition, of 32-bit numbers, takes about 4.6 pJ; a byte of a weight that
# comes from memory, once for a batch of 16 images, 160 pJ; a byte of an activation that is written
# to a large cache and read again, 12.5 pJ each way. It knows nothing of your accelerator. But it
# weighs the three against each other in one unit.
#
# All that it needs is in the widths. `per="population"` says that the function takes the widths of
# many candidates at once, a row each, and returns as many numbers. What follows from the widths is
# measured first, and what breaks a constraint is not measured any further.

# %%
MAC, MEMORY, CACHE = 4.6, 160.0, 12.5  # pJ a MAC, and a byte
BATCH = 16  # images


@op.metric(per="population", unit="µJ", direction="minimize", version=1)
def energy(graph, widths):
    """Energy of one image, in microjoules."""
    costs = graph.costs
    weights = MEMORY * 4 * costs.parameters(widths) / BATCH  # four bytes each
    activations = 2 * CACHE * costs.activation_bytes(widths)
    return 1e-6 * (MAC * costs.macs(widths) + weights + activations)


dense = energy.population(graph, graph.widths[None])[0]  # a population of one
print(f"dense: {dense:.1f} µJ an image, MACs {1e-6 * MAC * graph.costs.macs.dense:.1f} of them")

# %% [markdown]
# ## 2. From the network: a stopwatch, and noise
# `candidate.network` is the small network after recovery, of your own class. Here is a stopwatch:
# the median of some passes, after a few to warm up. A time is to be taken while nothing else runs:
# `alone=True` sees to it that no other worker of the search is busy.


# %%
@op.metric(unit="ms", direction="minimize", needs="network", alone=True, version=1)
def my_latency(candidate: op.Candidate) -> float:
    """Median time of a batch of 64 images, in milliseconds."""
    images, times = task.validation.inputs[:64], []
    with torch.no_grad():
        for repeat in range(25):
            start = time.perf_counter()
            candidate.network(images)
            if repeat >= 5:
                times.append(time.perf_counter() - start)
    candidate.meter.forward(25 * len(images))  # so that its price is known
    return 1e3 * statistics.median(times)


# %% [markdown]
# There is one already: `op.metrics.Latency(batch_size=64)`, which also settles the threads and
# waits for a GPU. Do the two agree? Some sizes, each measured three times by either, in turns:

# %%
built_in = op.metrics.Latency(batch_size=64, repeats=20)
timed = op.Problem(task, space=op.Widths(), objectives=[my_latency, op.metrics.macs], graph=graph)
rows = []
for share in (0.999, 0.5, 0.25, 0.1):
    candidate = op.Candidate(timed, op.Proposal(timed.uniform(op.metrics.macs <= share)))
    measured = [(my_latency(candidate), built_in(candidate)) for _ in range(3)]
    rows.append(
        {
            "MACs": f"{op.metrics.macs(candidate):.1%}",
            "mine (ms)": " ".join(f"{mine:.2f}" for mine, _ in measured),
            "built in (ms)": " ".join(f"{theirs:.2f}" for _, theirs in measured),
            "energy (µJ)": f"{energy(candidate):.1f}",
        }
    )
pd.DataFrame(rows).style.hide(axis="index")

# %% [markdown]
# Look at the spread within a cell before you believe a difference between rows: these are
# wall-clock times, and whatever else a machine does is in them. And a time is no fixed multiple of
# the MACs: [07_from_notebook_to_deployment](07_from_notebook_to_deployment.ipynb) goes into that.
#
# Noise next. The images get the same noise for every candidate, drawn once with a seed, so that two
# candidates are compared on the same images. `task.predict` counts the passes on the candidate's
# meter.

# %%
SIGMA = 0.2  # pixels lie between 0 and 1
noise = torch.randn(task.validation.inputs.shape, generator=torch.Generator().manual_seed(0))
noisy = op.Split(task.validation.inputs + SIGMA * noise, task.validation.labels)


@op.metric(direction="minimize", needs="network", limits=(0, 1), reference=0.9, version=1)
def noisy_error(candidate: op.Candidate) -> float:
    """Error on noisy validation images."""
    outputs = candidate.task.predict(candidate.network, noisy, meter=candidate.meter)
    return (outputs.argmax(dim=1) != noisy.labels).double().mean()


# %% [markdown]
# ## 3. From the predictions: is a class left behind?
# `candidate.predictions` are the outputs on the validation split, computed once for all metrics.
# The gap is the error on the digit that is recognized worst, minus the mean over all digits.


# %%
def errors_by_class(outputs, targets):
    """Return the error on each class, shape (10,)."""
    wrong = (outputs.argmax(dim=1) != targets).double()
    return torch.stack([wrong[targets == digit].mean() for digit in range(10)])


@op.metric(direction="minimize", needs="predictions", limits=(0, 1), version=1)
def class_gap(candidate: op.Candidate) -> float:
    """Error on the worst class minus the mean over the classes."""
    errors = errors_by_class(candidate.predictions, candidate.targets)
    return errors.max() - errors.mean()


# %% [markdown]
# `version` is what a journal tells metrics apart by, beside their source: it cannot look into what
# the function calls. Count it up when, say, `errors_by_class` changes.
#
# ## 4. Do they keep the rules?
# `check_metric` measures a few candidates: one finite number; the same for the same candidate,
# whatever was measured before; no more used of the candidate than it says that it needs; nothing
# changed; of a population what it says of each. A time is not the same twice, hence
# `repeatable=False`.

# %%
probe = op.Problem(
    task, space=op.Widths(), recovery=op.recovery.BatchNorm(), objectives=[energy], graph=graph
)
for metric in (energy, noisy_error, class_gap):
    check_metric(metric, problem=probe)
    print(f"{metric.name}: keeps the rules")
check_metric(my_latency, problem=probe, repeatable=False)
print(f"{my_latency.name}: keeps the rules, and does not claim to be repeatable")

# %% [markdown]
# And one that does not:


# %%
@op.metric(needs="structure", version=1)
def sloppy(candidate: op.Candidate) -> float:
    """Says that the structure will do, and looks at the predictions."""
    return candidate.predictions.mean()


try:
    check_metric(sloppy, problem=probe)
except ConformanceError as error:
    print(error)

# %% [markdown]
# ## 5. Three objectives, and a constraint
# Least error, least energy, least error under noise; and no digit's error more than 15 points above
# the mean. Budget, cache, journal and tables treat metrics of your own as they do all others.


# %%
def pruning(objectives, constraint):
    """Return the problem of the quick start with other objectives."""
    return op.Problem(
        task,
        space=op.Widths(step=2),
        recovery=op.recovery.BatchNorm(),
        objectives=objectives,
        subject_to=[constraint],
        graph=graph,
    )


def searched(problem):
    optimizer = op.optimizers.NSGA2(population=24)
    return op.solve(problem, optimizer, evaluations=EVALUATIONS, seed=1, progress=False)


careful = searched(pruning([op.metrics.error, energy, noisy_error], class_gap <= 0.15))
careful

# %% [markdown]
# Three objectives do not fit in a plane, so here are two others at a time. A point of the front
# that lies off the staircase is there for the third.

# %%
careful.plot(x="energy", y="noisy_error").figure

# %%
careful.plot(x="error", y="noisy_error").figure

# %% [markdown]
# All of it at once: a line is a network, an axis is a metric or the width of a group. The one that
# noise disturbs least stands out.

# %%
steady = careful.select(by=noisy_error)
careful.plot(kind="parallel", chosen=steady.index).figure

# %% [markdown]
# Which groups matter when there is noise? `effects` reads it off all that was evaluated: the mean
# at each width of a group, adjusted for the widths of the others. It is correlation in what the
# search happened to look at, so take it as a question to ask.

# %%
careful.plot(y="noisy_error", kind="effects").figure

# %% [markdown]
# In one number a group: how far its adjusted means lie apart. (Means of fewer than five candidates
# are left out.)


# %%
def reach(metric):
    """Return how far the adjusted means of a metric lie apart, for each group."""
    table = careful.effects(metric)
    table = table[table["rows"] >= 5]
    return table.groupby("group", sort=False)["adjusted"].agg(lambda means: np.ptp(means))


reaches = pd.DataFrame({name: reach(name) for name in ("error", "noisy_error", "class_gap")})
reaches.style.format("{:.3f}").background_gradient(cmap="Blues", axis=0)

# %% [markdown]
# ## 6. What does a search that only looks at the error do to the rest?
# The same search with error and energy alone. A constraint that always holds is a way to have a
# metric in the log without asking anything of it.

# %%
plain = searched(pruning([op.metrics.error, energy], class_gap <= 1))
ax = plain.plot(x="energy", y="class_gap", bounds=())
ax.set_title("Class gaps of a search for error and energy", loc="left")
ax.figure

# %% [markdown]
# Small networks have gaps that the dense one has not. But they have more errors, too, and the worst
# of ten classes is worse than the mean by chance alone: a class has 40 images here. What would the
# gap be if all digits were equally hard? Deal the same number of mistakes out at random, many times
# over, and look.

# %%
labels = task.validation.labels
rng = np.random.default_rng(0)
images = np.stack([np.flatnonzero(labels == digit) for digit in range(10)])


def by_chance(mistakes, draws=2000):
    """Return the gaps of mistakes that are dealt out at random, shape (draws,)."""
    wrong = np.zeros((draws, len(labels)))
    wrong[:, :mistakes] = 1
    errors = rng.permuted(wrong, axis=1)[:, images].mean(axis=2)
    return errors.max(axis=1) - errors.mean(axis=1)


rows = []
for limit in (0.02, 0.05, 0.1, 0.2, 0.4):
    try:
        choice = plain.select(op.metrics.error <= limit, by=energy)
    except op.errors.InfeasibleError:
        continue  # none is that good
    chance = by_chance(round(choice.metrics["error"] * len(labels)))
    rows.append(
        {
            "energy (µJ)": choice.metrics["energy"],
            "error": choice.metrics["error"],
            "class gap": choice.metrics["class_gap"],
            "by chance (median)": np.median(chance),
            "p": (1 + (chance >= choice.metrics["class_gap"] - 1e-9).sum()) / (1 + len(chance)),
        }
    )
gaps = pd.DataFrame(rows)
shown = dict.fromkeys(["error", "class gap", "by chance (median)"], "{:.1%}")
gaps.style.format({**shown, "energy (µJ)": "{:.1f}", "p": "{:.4f}"}).hide(axis="index")

# %%
unfair = gaps[gaps["p"] < 0.05 / len(gaps)]
errors = ", ".join(f"{error:.1%}" for error in unfair["error"])
Markdown(
    f"In **{len(unfair)} of {len(gaps)}** of these networks the worst digit is worse than chance "
    f"explains (p < 0.05, corrected for their number){': at an error of ' if errors else ''}"
    f"{errors}. "
    + (
        "There, pruning for the error alone took more from some digits than from others."
        if errors
        else "With 40 images a digit, this is all that can be said."
    )
)

# %% [markdown]
# And what did the careful search buy? At a few energies, from either search the network of least
# error, and from the careful one also the one that noise disturbs least:

# %%
rows = {}
for share in (0.6, 0.4, 0.25):
    for name, result, by in (
        ("error alone: least error", plain, op.metrics.error),
        ("careful: least error", careful, op.metrics.error),
        ("careful: least noisy error", careful, noisy_error),
    ):
        try:
            choice = result.select(energy <= share * dense, by=by)
        except op.errors.InfeasibleError:
            continue  # none is that small
        candidate = op.Candidate(result.problem, op.Proposal(choice.structure), result.seed)
        rows[f"at most {share:.0%} of the energy", name] = {
            "error": choice.metrics["error"],
            "noisy error": noisy_error(candidate),
            "class gap": choice.metrics["class_gap"],
        }
bought = pd.DataFrame(rows).T
bought.style.format("{:.2%}")

# %%
noisy_errors = bought["noisy error"].unstack()
first, last = "error alone: least error", "careful: least noisy error"
gained = 100 * (noisy_errors[first] - noisy_errors[last]).dropna()
Markdown(
    "Fewer points of noisy error than the search for the error alone: "
    + ", ".join(f"**{points:+.1f}** {size}" for size, points in gained.items())
    + ". (Below zero, asking for it did not help.) One image of "
    f"{len(labels)} is {100 / len(labels):.2f} points, the noise is always the same, and this is "
    "one seed: [05_compare_optimizers](05_compare_optimizers.ipynb) shows what it takes to be sure."
)

# %% [markdown]
# Look at the gaps beside the errors, too. A small gap is no virtue by itself: a network that is
# wrong about everything has none, and a bound on the gap can be met like that. Together with a
# bound on the error it says what was meant.
#
# ## 7. An optimizer of your own
# It is a loop around `session.evaluate`. There is no counter, no cache and no end in it: the
# session charges the budget, knows what was evaluated before, and ends the search. This one takes
# networks of the front so far and draws a width or two of each anew. `to_minimization` gives finite
# numbers, whatever failed or broke a constraint.


# %%
@dataclass(frozen=True)
class Tinker:
    """Change the networks of the front a little."""

    batch: int = 8
    name: str = "Tinker"

    def search(self, problem: op.Problem, session: op.Session) -> None:
        """Go on until the session ends it."""
        space, rng = problem.bound_space, session.generator
        points = proposed = space.sample(rng, self.batch)
        worth = np.empty((0, problem.n_objectives))
        while True:
            values, violations = to_minimization(problem, session.evaluate(proposed))
            worth = np.vstack([worth, values + 1e6 * violations.sum(axis=1, keepdims=True)])
            parents = points[rng.choice(nondominated(worth), self.batch)]
            anew = rng.random(parents.shape) < 1.5 / space.n_variables
            proposed = np.where(anew, space.sample(rng, self.batch), parents)
            points = np.vstack([points, proposed])


check_optimizer(Tinker(), cases=CASES[2:5])
print("keeps the rules on:", ", ".join(case.name for case in CASES[2:5]))

# %% [markdown]
# `CASES` has more such problems; without `cases` all of them are run. And on the problem of section
# 6, beside NSGA-II with the same budget and seed:

# %%
own = op.solve(plain.problem, Tinker(), evaluations=EVALUATIONS, seed=1, progress=False)
ax = plain.plot(x="energy", y="error", bounds=())
settings = {"bounds": (), "evaluated": None, "dense": None, "color": "#E69F00"}
own.plot(x="energy", y="error", ax=ax, **settings)
ax.set_title("Two optimizers, one seed", loc="left")
for result in (plain, own):
    print(f"hypervolume of {result.optimizer}: {result.hypervolume((0.9, dense)):.2f} µJ")
ax.figure

# %% [markdown]
# ## Where to go from here
# - Scores, recoveries, spaces and trainers are plugged in likewise, and `optprune.testing` has a
#   check for each.
# - Which of two optimizers is better takes more than one seed:
#   [05_compare_optimizers](05_compare_optimizers.ipynb).
#
# M. Horowitz, 2014, "Computing's energy problem (and what we can do about it)", IEEE International
# Solid-State Circuits Conference, doi:10.1109/ISSCC.2014.6757323.
