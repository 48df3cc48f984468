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
# # Recovery: what is lost at the cut, and what comes back without training
#
# You have a trained network, and no wish to train it again. Cut half of its channels and hardly
# anything is left of its accuracy. Most of that is not gone for good: the layers behind a cut only
# have to be told what they still get. This notebook shows in pictures what is lost, what each
# *recovery* brings back, and how far a search gets that uses one.
#
# The network is the small classifier of handwritten digits from the quick start.

# %%
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import optprune as op

torch.set_num_threads(1)  # this network is so small that a second thread only costs
BUDGET = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))
RATIOS = 1 + min(BUDGET // 8, 16)  # points on a curve

# Colors of Okabe and Ito, which stay apart for color-blind readers.
BLACK, BLUE, SKY, GREEN, ORANGE, RED = COLORS = (
    "#000000", "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00",
)  # fmt: skip


def panels(columns, width, height, **options):
    return plt.subplots(1, columns, figsize=(width, height), layout="constrained", **options)


def tidy(ax, title, grid="both"):
    ax.set_title(title, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_axisbelow(True)
    ax.grid(axis=grid, color="#DDDDDD", linewidth=0.7)


def curves(ax, lines):
    for (name, line), color, marker in zip(lines.items(), COLORS, "xs^vDo", strict=False):
        ax.plot(
            line["macs"], line["accuracy"], marker, ls="-", lw=1.4, ms=4.5, color=color, label=name
        )
    ax.set(ylim=(0, 1.02), xlabel="MACs (fraction of dense)")


task = op.problems.digits.task()
graph = op.trace(task.network, task.example)
task

# %% [markdown]
# In what follows only two things change: which units go first (the score), and what happens to
# the weights afterwards (the recovery). So a problem is a function of these two.


# %%
def problem_with(recovery, score=op.scores.L1(), **more):  # noqa: B008 - scores do not change
    return op.Problem(
        task,
        space=op.Widths(score=score),
        recovery=recovery,
        objectives=[op.metrics.error, op.metrics.macs],
        graph=graph,
        **more,
    )


# %% [markdown]
# ## 1. The loss at the cut
# Half of the units of every group leave, those of smallest L1 norm. Nothing else happens.

# %%
plain = problem_with(op.recovery.Nothing())
half = plain.bound_space.decode(plain.bound_space.uniform(0.5))[0]

for name, structure in (("dense", graph.full()), ("half of every group", half)):
    values = plain.evaluate(structure)
    print(f"{name}: {values['macs']:.1%} of the MACs, accuracy {1 - values['error']:.2%}")

# %% [markdown]
# Is that the fault of the cut network? No: the dense network in which the same channels are set to
# zero answers the same, and the weights that stay are the ones that were there. What is lost is
# lost at the moment of the cut, because every layer behind it gets less than it was trained for.

# %%
labels = task.validation.labels


def outputs_of(network):
    return task.predict(network, task.validation)


small = op.cut(task.network, graph, half)
masked = op.mask(task.network, graph, half)
answers = outputs_of(small)
difference = (answers - outputs_of(masked)).abs().max().item()
print(f"largest difference between cut and zeroed: {difference:.1e}")
print(f"largest output: {answers.abs().max().item():.1f}")
print("the last bias is the same:", torch.equal(small.head.bias, task.network.head.bias))

# %% [markdown]
# The cut again, one group after another from front to back: each bar has all the cuts of the bars
# above it.

# %%
kept = graph.full().kept.copy()
steps = {"nothing cut": 1 - plain.evaluate(graph.full())["error"]}
for group in graph.groups:
    kept[group.slice] = half.kept[group.slice]
    steps[f"+ half of {group.name}"] = 1 - plain.evaluate(graph.structure(kept))["error"]

figure, ax = panels(1, 6.8, 2.8)
bars = ax.barh(list(steps), list(steps.values()), color=BLUE, height=0.7)
ax.bar_label(bars, fmt="{:.1%}", padding=3, fontsize="small")
ax.axvline(0.1, color=BLACK, linewidth=1, linestyle=":", label="guessing")
ax.invert_yaxis()
ax.tick_params(axis="y", length=0)
ax.set(xlim=(0, 1.1), xlabel="validation accuracy (fraction)")
ax.legend(loc="lower right", fontsize="small", frameon=False)
tidy(ax, "Lost at the cut", grid="x")
plt.show()

# %% [markdown]
# ## 2. What each recovery brings back
# A recovery repairs the weights of a network that was cut. None of these needs labels or
# gradients, only some images of the calibration split:
#
# - `Nothing`;
# - `BatchNorm` measures the means and variances of the normalizations anew;
# - `BiasCorrection` puts the mean of every output back, and leaves the weights alone;
# - `LeastSquares("symmetric")` fits the weights behind every cut in closed form, so that they
#   answer as before on the inputs that stayed. What it has to know about the data is measured
#   once, on the dense network; a candidate costs no pass over data;
# - the same, and then `BatchNorm`, as a `Pipeline`;
# - `LeastSquares()`, asymmetric, fits front to back on what the cut network really delivers, so
#   that a layer also makes up for what the layers before it got wrong.
#
# All groups keep the same share of their units here, and the sweep goes over that share.

# %%
recoveries = {
    "Nothing": op.recovery.Nothing(),
    "BatchNorm": op.recovery.BatchNorm(),
    "BiasCorrection": op.recovery.BiasCorrection(),
    "LeastSquares, symmetric": op.recovery.LeastSquares("symmetric"),
    "LeastSquares, symmetric + BatchNorm": op.recovery.Pipeline(
        (op.recovery.LeastSquares("symmetric"), op.recovery.BatchNorm())
    ),
    "LeastSquares": op.recovery.LeastSquares(),
}


def sweep(problem, ratios=RATIOS):
    """Measure the same share of every group, for several shares."""
    optimizer = op.optimizers.UniformWidths(steps=ratios)
    return op.solve(problem, optimizer, evaluations=BUDGET, progress=False)


def curve(result):
    """Return what was measured, by MACs."""
    log = result.log.dropna(subset="error").sort_values("macs")
    return log.assign(accuracy=1 - log["error"])


sweeps = {name: sweep(problem_with(recovery)) for name, recovery in recoveries.items()}

# %%
figure, ax = panels(1, 7.2, 4.6)
curves(ax, {name: curve(result) for name, result in sweeps.items()})
ax.set(xlim=(0, 1.01), ylabel="validation accuracy (fraction)")
ax.legend(loc="lower right", fontsize="small", frameon=False, reverse=True)
tidy(ax, "The same cuts, recovered in six ways")
plt.show()

# %% [markdown]
# The same as numbers: the accuracy with half of every group, the smallest network of each sweep
# that still has 97 %, and what a candidate costs: samples that go forward through the network (400
# of them to measure it on the validation split), and time, on the computer on which this was run.

# %%
rows = []
for name, result in sweeps.items():
    line = curve(result)
    halved = line.loc[line["digest"] == half.digest, "accuracy"].item()
    good = line[line["accuracy"] >= 0.97]
    rows.append(
        {
            "recovery": name,
            "accuracy at half widths": f"{halved:.2%}",
            "least MACs with 97 %": f"{good['macs'].min():.1%}",
            "samples a candidate": f"{line['forward_samples'].median():.0f}",
            "ms a candidate": f"{1000 * line['seconds'].median():.0f}",
        }
    )
pd.DataFrame(rows).set_index("recovery")

# %% [markdown]
# What "brought back" means can be seen in the outputs themselves. Each point below is one output
# for one validation image: across what the dense network answers, up what the network with half of
# every group answers. On the diagonal nothing has changed. `problem.network` makes the network that
# `problem.evaluate` measures.

# %%
dense_outputs = outputs_of(task.network)
shown = ["Nothing", "BatchNorm", "BiasCorrection", "LeastSquares"]
figure, axes = panels(4, 10.4, 3.1, sharex=True, sharey=True)
for ax, name in zip(axes, shown, strict=True):
    outputs = outputs_of(problem_with(recoveries[name]).network(half))
    accuracy = (outputs.argmax(dim=1) == labels).double().mean().item()
    ax.plot(
        dense_outputs.flatten(),
        outputs.flatten(),
        ".",
        color=BLUE,
        markersize=3,
        markeredgewidth=0,
        alpha=0.4,
    )
    ax.axline((0, 0), slope=1, color=BLACK, linewidth=1)
    ax.set_box_aspect(1)
    tidy(ax, f"{name}: {accuracy:.1%}")
axes[0].set_ylabel("small network (logit)")
figure.supxlabel("dense network (logit)", fontsize="medium")
plt.show()

# %% [markdown]
# ## 3. Which units?
# Does it matter which units stay? The picture has the small widths only: on the left nothing is
# repaired, on the right `LeastSquares` repairs. The scores are
#
# - `Random`, for comparison: one draw;
# - `L1`, the size of the weights;
# - `Taylor`, from gradients: what the loss would change by;
# - `Lasso`, the units that a sparse fit of the next layer's outputs chooses;
# - `Compensation`, the units that the others cannot make up for once the weights are fitted.
#
# `subject_to` keeps the sweep below 30 % of the MACs: what breaks a constraint on a cost is never
# run.

# %%
scores = {
    "Random": op.scores.Random(),
    "L1": op.scores.L1(),
    "Taylor": op.scores.Taylor(),
    "Lasso": op.scores.Lasso(),
    "Compensation": op.scores.Compensation(),
}
cuts = {"nothing repaired": op.recovery.Nothing(), "LeastSquares": op.recovery.LeastSquares()}
by_score = {
    (title, name): sweep(problem_with(recovery, score, subject_to=op.metrics.macs <= 0.3))
    for title, recovery in cuts.items()
    for name, score in scores.items()
}

# %%
figure, axes = panels(2, 9.6, 4.2, sharex=True, sharey=True)
for ax, title in zip(axes, cuts, strict=True):
    curves(ax, {name: curve(by_score[title, name]) for name in scores})
    ax.set_xscale("log")
    ax.set_xticks([0.003, 0.01, 0.03, 0.1, 0.3], ["0.003", "0.01", "0.03", "0.1", "0.3"])
    tidy(ax, title)
axes[0].set_ylabel("validation accuracy (fraction)")
axes[0].legend(loc="upper left", fontsize="small", frameon=False)
plt.show()

# %%
table = pd.DataFrame(
    {
        name: curve(by_score["LeastSquares", name]).set_index("macs")["accuracy"].iloc[2:]
        for name in scores
    }
)
table.index = [f"{macs:.1%} of the MACs" for macs in table.index]
table.map("{:.2%}".format)

# %% [markdown]
# One of the 400 validation images is 0.25 %, so small differences mean nothing. The repair makes
# far more of a difference than the choice of the units does: without it, no score helps at these
# sizes, and with it even units that were drawn at random do well. At 3.7 % of the MACs, where the
# scores are farthest apart, `Compensation` leads.

# %% [markdown]
# ## 4. Inside a fit
# A recovery can also be called by hand: it gets a network that was cut, and a context that says
# what it may use. `fit` does what `recover` does, and returns what happened to every layer. The
# error is that of the layer's outputs against those of the dense network, as a fraction of their
# variance. *Before* is with the weights that the layer had, when the layers in front of it have
# been fitted already.

# %%
context = op.recovery.RecoveryContext(task, graph, half, seed=0, meter=op.Meter())
fits = op.recovery.LeastSquares().fit(op.cut(task.network, graph, half), context)
pd.DataFrame(fits).set_index("layer")[["fitted", "reason", "before", "after", "ridge"]].round(4)

# %%
fitted = [fit for fit in fits if fit.fitted]
places = np.arange(len(fitted))
figure, ax = panels(1, 6.8, 4.0)
for shift, when, color in ((-0.2, "before", "#BBBBBB"), (0.2, "after", BLUE)):
    errors = [getattr(fit, when) for fit in fitted]
    bars = ax.barh(places + shift, errors, height=0.38, color=color, label=f"{when} the fit")
    ax.bar_label(bars, fmt="{:.0%}", padding=3, fontsize="small")
ax.set_yticks(places, [fit.layer for fit in fitted])
ax.invert_yaxis()
ax.tick_params(axis="y", length=0)
ax.margins(x=0.1)
ax.set_xlabel("squared error of the outputs (fraction of their variance)")
ax.legend(loc="lower right", fontsize="small", edgecolor="none", framealpha=1)
tidy(ax, "Half of every group: each layer before and after its fit", grid="x")
plt.show()

# %% [markdown]
# The two shortcuts get back least. They are 1×1 convolutions, with 8 and 16 inputs left for each
# output; a 3×3 convolution has nine weights for each of its channels to make up with.

# %% [markdown]
# ## 5. A width for each group
# So far all groups kept the same share. A *sensitivity scan* narrows one group at a time and leaves
# all others whole: where the curve is flat, units can go.

# %%
figure, axes = panels(2, 10, 4.0, sharey=True)
scan = op.optimizers.SensitivityScan(levels=RATIOS // 2)
for ax, (title, recovery) in zip(axes, cuts.items(), strict=True):
    scanned = op.solve(problem_with(recovery), scan, evaluations=BUDGET, progress=False)
    op.plots.sensitivity(
        scanned.sensitivity(), y_label="validation error (fraction)", title=title, ax=ax
    )
axes[1].set_ylabel("")
axes[1].get_legend().remove()
plt.show()

# %% [markdown]
# Repaired, each group alone can lose most of its units. All of them together cannot, so the widths
# have to be chosen together. `BinaryStructuralSearch` goes through the groups from front to back
# and bisects the width of each: as much leaves as a growing share of a *tolerance* allows, here two
# points of error. With a recovery that needs no training this takes a few evaluations for each
# group.

# %%
TOLERANCE = 0.02

problem = problem_with(op.recovery.LeastSquares(), op.scores.Compensation())
search = op.optimizers.BinaryStructuralSearch(tolerance=TOLERANCE)
searched = op.solve(problem, search, evaluations=BUDGET, progress=False)
chosen = searched.select(op.metrics.macs <= 0.15)
print(len(searched.rows), "networks measured")
chosen

# %%
uniform = sweep(problem)
figure, ax = panels(1, 7.2, 4.4)
op.plots.front(uniform.front, "macs", "error", name="uniform widths", color=ORANGE, ax=ax)
searched.plot(
    chosen=(chosen.metrics["macs"], chosen.metrics["error"]),
    labels={"macs": "MACs (fraction of dense)", "error": "validation error (fraction)"},
    title="Two points of error, spent from front to back",
    ax=ax,
)
tolerated = searched.dense.metrics["error"] + TOLERANCE
ax.axhline(tolerated, color=BLACK, linewidth=1, linestyle=":")
ax.text(0.99, tolerated, "tolerated", fontsize="small", ha="right", va="bottom")
ax.set(xlim=(0, 1.02), ylim=(0, 0.06))
plt.show()

# %% [markdown]
# The search goes from right to left. Along most of its way uniform widths, with the same score and
# recovery, are as good or better: the first groups spend what they may before the later ones are
# seen. Where it arrives its error is a little lower than theirs. The circled network was picked
# with `select`: the least error at no more than 15 % of the MACs. It keeps this much of each group:

# %%
op.plots.structure(
    [group.name for group in graph.groups], chosen.structure.widths, graph.widths
).figure

# %% [markdown]
# The other way to spread the damage is over time. `Rounds` prunes a little, repairs, scores what is
# left again, and goes on from there; all groups keep the same share. Beside it the same share cut
# at once, both at 20 % of the MACs:

# %%
rows = []
for name in ("L1", "Taylor", "Lasso", "Compensation"):
    repaired = problem_with(op.recovery.LeastSquares(), scores[name])
    for count, how in ((1, "at once"), (5, "in five rounds")):
        rounds = op.optimizers.Rounds(rounds=count, macs=0.2)
        last = op.solve(repaired, rounds, evaluations=BUDGET, progress=False).rows[-1]
        wrong = round(last.metrics["error"] * len(labels))
        rows.append({"score": name, "how": how, "wrong": wrong, "macs": last.metrics["macs"]})
table = pd.DataFrame(rows)

figure, ax = panels(1, 6.8, 2.4)
for name, ends in table.groupby("score"):
    ax.plot(ends["wrong"], [name, name], color="#BBBBBB", linewidth=3, zorder=1)
for (how, points), color, size in zip(table.groupby("how"), (ORANGE, BLUE), (110, 40), strict=True):
    ax.scatter(points["wrong"], points["score"], s=size, color=color, label=how, zorder=2)
ax.tick_params(axis="y", length=0)
ax.margins(y=0.15)
ax.set(xlim=(0, None), xlabel=f"validation images that are wrong (of {len(labels)})")
ax.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
tidy(ax, f"Uniform widths, {table['macs'].max():.1%} of the MACs", grid="x")
plt.show()

# %% [markdown]
# All of this is about a handful of images out of 400. On this network, at this size, rounds make no
# difference to rely on.

# %% [markdown]
# ## 6. The network that was chosen
# The search has looked at the validation split some thirty times, and the network was picked by
# it. The test split is read now, once:

# %%
report = searched.report(chosen.index)
print("test split read", report.attrs["test_reads"], "time(s)")
report[["index", "macs", "error", "test_error", "test_accuracy"]]

# %% [markdown]
# The test error is larger than the validation error, by which the network was picked; it is for the
# dense network, too. The small one is a network like any other, without masks or hooks, and is
# saved and loaded as one. No label was used to get its weights, and no gradient.

# %%
with tempfile.TemporaryDirectory() as folder:
    chosen.save(Path(folder) / "small")
    loaded = op.load(Path(folder) / "small", trust=True)
    size = sum(path.stat().st_size for path in (Path(folder) / "small").iterdir())

print(f"{sum(parameter.numel() for parameter in loaded.parameters()):,} parameters, {size:,} bytes")
print("same outputs:", torch.equal(outputs_of(loaded), outputs_of(chosen.network())))

# %% [markdown]
# Whoever does want to train can go on from there: `finish` takes any trainer, and `Distillation`
# lets the dense network be the teacher. What is the repair worth as a start? The same structure is
# also trained from the bare cut, with `FineTune`, which makes training a recovery like the others.
# Each point is a training of its own.

# %%
EPOCHS = (1, 2, 4, 8)[: RATIOS // 4]
repaired = [chosen.metrics["error"]]
bare = [plain.evaluate(chosen.structure)["error"]]
for epochs in EPOCHS:
    trainer = op.training.Distillation(trainer=op.training.SGD(epochs=epochs, lr=0.005))
    repaired.append(chosen.finish(trainer).after["error"])
    tuned = problem_with(op.recovery.FineTune(trainer))
    bare.append(tuned.evaluate(chosen.structure)["error"])

figure, ax = panels(1, 6.8, 3.4)
for label, errors, color, marker in (
    ("from the bare cut", bare, ORANGE, "D"),
    ("from the repaired network", repaired, BLUE, "s"),
):
    ax.plot((0, *EPOCHS), errors, marker, ls="-", lw=1.4, ms=5, color=color, label=label)
ax.set(yscale="log", xlabel="epochs of distillation", ylabel="validation error (fraction)")
ax.set_xticks((0, *EPOCHS))
ax.set_yticks([0.003, 0.01, 0.03, 0.1, 0.3, 1], ["0.003", "0.01", "0.03", "0.1", "0.3", "1"])
ax.legend(loc="upper right", fontsize="small", frameon=False)
tidy(ax, "Training on")
plt.show()

# %%
pd.DataFrame({"bare cut": bare, "repaired": repaired}, index=pd.Index((0, *EPOCHS), name="epochs"))

# %% [markdown]
# The repaired network needs no training to be where the bare one is only after several epochs. With
# enough of them the bare cut gets there too, and a single epoch even harms the repaired network:
# what the repair saves is time, and the labels.

# %% [markdown]
# ## Where to go from here
# - Your own network: make an `op.Task` with it; every recovery above takes it as it is.
# - `LeastSquares("symmetric")`, with `BatchNorm` behind it, is the quicker one in a search over
#   hundreds of networks; `LeastSquares()` brings back more of each.
# - `op.optimizers.NSGA2`, as in the quick start, searches all widths at once, with any recovery.
