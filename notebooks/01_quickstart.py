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
# # Quick start: from a trained network to a front of smaller ones
#
# A trained network has more channels than it needs. Which of them can go, and how many in each
# layer? optprune writes that question as an optimization problem and hands it to a solver. What
# comes back is not one smaller network but a *front*: the best ones for every size.
#
# This notebook walks through it with a small classifier of handwritten digits.

# %%
import os
import tempfile
from pathlib import Path

import torch

import optprune as op

torch.set_num_threads(1)  # this network is so small that a second thread only costs
EVALUATIONS = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))

# %% [markdown]
# ## The network, and what hangs together in it
# The network comes trained. A residual network is not easy to prune by hand: a channel that leaves
# one convolution must also leave whatever it is added to, and everything that reads it. One forward
# pass of an example is enough for `op.trace` to find out, and it checks what it found by removing.

# %%
network = op.problems.digits.network()
data = op.problems.digits.splits()
example = data["validation"].inputs[:2]

graph = op.trace(network, example)
graph

# %% [markdown]
# Channels that have to leave together are a *unit*, and units that are alike form a *group*. For
# each group the table tells how wide it is, which share of the network's computation (MACs) and
# parameters it can save, and which tensors it runs through. What cannot be narrowed is listed as
# well, with the reason: here the outputs, since there must be one for each digit.

# %%
groups = graph.explain()
groups[["group", "width", "macs_share", "parameters_share", "frozen", "reason"]]

# %%
op.plots.groups(
    groups, columns=["group", "width", "macs_share", "parameters_share", "members"]
).figure

# %% [markdown]
# The same as a picture: a column for each group, a row for each layer. A channel of a group is
# produced by the layers with a filled square and consumed by those with an open one; it leaves all
# of them at once.

# %%
graph.plot().figure

# %% [markdown]
# ## The task, and the problem
# A `Task` is the network with its data. The search measures candidates on `validation`; `train`
# lends some images, without their labels, to recalibrate what is left after pruning; `test` stays
# closed until the end.

# %%
task = op.Task(
    network,
    train=data["train"],
    validation=data["validation"],
    test=data["test"],
    name="digits",
    build=op.Build("optprune.problems.digits:network", {"weights": False}),
)
task

# %% [markdown]
# A `Problem` says the rest, one choice on each line:
#
# - the **space**: what is decided, here the width of every group in steps of two, where the
#   channels of smallest L1 norm go first;
# - the **recovery**: what happens to a candidate before it is measured, here fresh batch-norm
#   statistics;
# - the **objectives**: what is traded, here the error against the MACs, as a fraction of the dense
#   network's;
# - and **constraints**, written as comparisons.

# %%
problem = op.Problem(
    task,
    space=op.Widths(step=2, score=op.scores.L1()),
    recovery=op.recovery.BatchNorm(),
    objectives=[op.metrics.error, op.metrics.macs],
    subject_to=[op.metrics.macs <= 0.8],
)
print(f"{problem.bound_space.cardinality:,.0f} structures to choose from")

# %% [markdown]
# ## Solving it
# Every optimizer is called in the same way; this one is NSGA-II, a genetic algorithm for several
# objectives. Everything random follows from the seed, so the same line gives the same result. With
# `journal="run.db"` a run that was killed would go on where it stopped.

# %%
result = op.solve(problem, op.optimizers.NSGA2(), evaluations=EVALUATIONS, seed=1)

# %%
result

# %% [markdown]
# Each point on the staircase is a network that no other one beats in both objectives. A grey point
# was evaluated and beaten. `result.front` and `result.log` are DataFrames with all of them.

# %%
small = result.select(op.metrics.macs <= 0.4)
small

# %%
result.plot(chosen=(small.metrics["macs"], small.metrics["error"])).figure

# %% [markdown]
# ## A smaller network
# `select` picked the network of least error with at most 40 % of the MACs. It keeps this much of
# each group:

# %%
op.plots.structure(
    [group.name for group in graph.groups], small.structure.widths, graph.widths
).figure

# %% [markdown]
# `network()` makes it. It is a plain network of the same class, only narrower: no masks, no hooks,
# nothing of optprune inside. To be sure, we call it, count its parameters, and look at a layer.

# %%
pruned = small.network()


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


print(f"{type(network).__name__}: {count(network):,} parameters, {network.stages[2].conv2}")
print(f"{type(pruned).__name__}: {count(pruned):,} parameters, {pruned.stages[2].conv2}")
with torch.no_grad():
    print("outputs:", tuple(pruned(example).shape))

# %% [markdown]
# So far no weight was trained: pruning took channels away, and recovery measured statistics anew.
# `finish` makes the network once more and trains it a little.

# %%
finished = small.finish(op.training.SGD(epochs=5))
print(
    f"validation error: {finished.before['error']:.2%} before, {finished.after['error']:.2%} after"
)

# %% [markdown]
# How good is it on images that neither the training nor the search has seen? The test data are read
# by `report` only, and the result counts how often: who chooses by test values fools themselves.
# Without `networks=` it measures the network as the search left it. Index -1 is the dense network.

# %%
report = result.report(small.index, networks={small.index: finished.network})
print("test split read", report.attrs["test_reads"], "time(s)")
report[["index", "macs", "error", "test_error", "test_accuracy"]]

# %% [markdown]
# ## An objective of your own
# Anything that can be measured on a candidate can be an objective or a constraint: decorate a
# function. A small mean error may hide one digit that is hardly recognized any more, so here we ask
# that no digit is left behind. `needs` says what the function looks at; one that only needs the
# `"structure"` is measured before the network is run at all.


# %%
@op.metric(direction="minimize", needs="predictions", version=1)
def worst_digit(candidate: op.Candidate) -> float:
    """Error on the digit that is recognized worst."""
    wrong = candidate.predictions.argmax(dim=1) != candidate.targets
    return max(wrong[candidate.targets == digit].double().mean().item() for digit in range(10))


fair = op.Problem(
    task,
    space=op.Widths(step=2),
    recovery=op.recovery.BatchNorm(),
    objectives=[worst_digit, op.metrics.macs],
    subject_to=[op.metrics.macs <= 0.8, op.metrics.error <= 0.2],
    graph=graph,
)
fair_result = op.solve(fair, op.optimizers.NSGA2(), evaluations=EVALUATIONS, seed=1)
fair_result

# %% [markdown]
# ## Saving and loading
# A network is saved as its structure and its weights, without pickle. To load it, give `op.load` a
# dense network of the same architecture; or, as this task has told how one is built, say
# `trust=True`, which allows the folder to name the function that is called. (`small.save(folder)`
# saves the network as the search left it.)

# %%
with tempfile.TemporaryDirectory() as folder:
    op.save(Path(folder) / "network", finished.network, small.structure, graph, build=task.build)
    result.save(Path(folder) / "result")
    loaded = op.load(Path(folder) / "network", trust=True)
    again = op.Result.load(Path(folder) / "result", problem)

with torch.no_grad():
    print("same outputs:", torch.equal(loaded(example), finished.network(example)))
print("same front:", again.front.equals(result.front))

# %% [markdown]
# ## Where to go from here
# - Your own network: make an `op.Task` with it, and everything above applies.
# - Other methods: `op.optimizers` has a genetic algorithm of DEAP, random search and the uniform
#   sweep; `op.Masks` decides channel by channel, `op.Ratios` over shares.
# - From the terminal: `optprune solve --help`.
