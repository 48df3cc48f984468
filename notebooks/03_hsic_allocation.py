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
# # Allocation: how wide should each layer be under a budget?
#
# Half of the MACs have to go. From which layers? One answer is a convex program: say how much every
# layer counts, write the MACs as a function of the widths, and solve. No network is evaluated on
# the way, and the answer comes with a proof of how good it is.
#
# How much a layer counts can be told by *dependence*: a layer that says what others say as well may
# count less. This notebook measures it, writes the program down, solves it for thirty budgets, and
# then checks what the answers are worth, beside simpler ones.

# %%
import os
import time
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.stats import binomtest

import optprune as op
from optprune.allocation import Program, SignomialProgram
from optprune.dependence import Dependence, hsic, linear_gram, normalized

torch.set_num_threads(1)  # this network is so small that a second thread only costs
BUDGET = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))
SEEDS = 2 + min(BUDGET // 100, 2)  # random importances to compare with

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


task = op.problems.digits.task()
graph = op.trace(task.network, task.example)
names = [group.name for group in graph.groups]
graph

# %% [markdown]
# ## 1. What layers tell of each other
# Channels that must leave together are a group, and each group is one width to decide: six here.
# The normalized Hilbert-Schmidt independence criterion (nHSIC) compares what two groups hold: 0 if
# they are independent, 1 if one is a rotated and scaled copy of the other. One forward pass of 512
# images is enough for all pairs, the inputs and the labels included.

# %%
dependence = Dependence().measure(task, graph)
dependence.plot().figure

# %% [markdown]
# Neighbors say nearly the same (0.8 to 0.9); the first group and the last share half. Towards the
# end the groups tell more and more of the labels. None is independent of all others. The importance
# makes one number of each row: with $s_g = \sum_{h \ne g} \mathrm{nHSIC}_{gh}$ over the other
# groups, and the mean $\bar s$ of these sums,
#
# $$I_g = \exp(-\beta \, s_g / \bar s).$$

# %%
importance = dependence.importance(beta=1.0)
pd.DataFrame({"importance": importance, "of the mean": importance / importance.mean()}, names)

# %% [markdown]
# The largest is a fifth above the least. That is not much, and will matter in section 4.
#
# Which estimator? The usual one is biased. Take two sets of random features that have *nothing* to
# do with each other, and compare them:


# %%
def independent(features, samples, estimator, repeats=3):
    """Return nHSIC of independent Gaussian features, the mean over some draws."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(repeats):
        draws = torch.randn(2, samples, features, generator=generator)
        grams = [linear_gram(draw) for draw in draws]
        found.append(normalized(hsic(grams, estimator))[0, 1].item())
    return np.mean(found)


counts = (4, 16, 64, 256, 1024, 2048)
figure, ax = panels(1, 6.8, 3.4)
for estimator, color in (("biased", ORANGE), ("unbiased", BLUE)):
    for samples, line in ((100, "-"), (450, "--")):
        values = [independent(features, samples, estimator) for features in counts]
        label = f"{estimator}, {samples} samples"
        ax.plot(counts, values, "o", ls=line, lw=1.4, ms=4, color=color, label=label)
ax.set(xscale="log", ylim=(-0.1, 1.02), xlabel="features", ylabel="nHSIC")
ax.set_xticks(counts, counts)
ax.minorticks_off()
ax.legend(fontsize="small", frameon=False)
tidy(ax, "Independent features: the right answer is 0")
plt.show()

# %% [markdown]
# With more features than samples the biased estimator finds dependence where there is none. Feature
# maps with all their positions easily have that many features. So `Dependence` uses the unbiased
# estimator, and averages each channel over its positions. On 512 images and at most 64 channels
# either estimator will do:

# %%
biased = Dependence(estimator="biased").measure(task, graph).importance(beta=1.0)
change = np.abs(biased / importance - 1).max()
print(f"the importances differ by {change:.2%} at most")

# %% [markdown]
# ## 2. The program
# Let $x_g \in (0, 1]$ be the share of its $W_g$ units that group $g$ keeps. The MACs are a sum of
# products of widths with positive factors, a *posynomial*:
#
# $$F(x) = \sum_m c_m \prod_g x_g^{a_{mg}}, \qquad c_m > 0 .$$
#
# The program is
#
# $$\max_x \; \sum_g I_g \log x_g \quad \text{subject to} \quad F(x) \le B, \quad
#   \frac{1}{W_g} \le x_g \le 1 .$$
#
# Why the logarithm? In $x$ itself a product of widths is not convex. In $y = \log x$ the budget is
# a sum of exponentials, and the objective is linear:
#
# $$\max_y \; \sum_g I_g \, y_g \quad \text{subject to} \quad
#   \log \sum_m \exp\Big(\sum_g a_{mg} y_g + \log c_m\Big) \le \log B .$$
#
# That is convex: whatever optimum a solver finds is the global one. Here are both curvatures, at
# the dense network.

# %%
macs = graph.costs.macs
dense = macs.dense_widths
coefficients, exponents = macs.monomials()
terms = coefficients * np.prod(dense.astype(float) ** exponents, axis=1) / macs.dense

curvature = np.einsum("m,mi,mj->ij", terms, exponents, exponents)
in_x = curvature - np.diag(terms @ exponents)
in_log_x = curvature - np.outer(terms @ exponents, terms @ exponents)
for space, matrix in (("F in x", in_x), ("log F in log x", in_log_x)):
    print(f"{space:>14}: eigenvalues", np.linalg.eigvalsh(matrix).round(3) + 0.0)

# %% [markdown]
# Three negative eigenvalues in $x$, none in $\log x$. With two groups one can see it: all others
# stay whole, 70 % of the MACs may be used, and the stem counts 1.5 times as much as the other.

# %%
first, second = names.index("stem"), names.index("stages.0.conv1")
axis = np.linspace(1, 16, 301)
grid = np.stack(np.meshgrid(axis, axis), axis=-1)
widths = np.tile(dense.astype(float), (*grid.shape[:2], 1))
widths[..., [first, second]] = grid
cost = macs(widths.reshape(-1, len(dense))).reshape(grid.shape[:2]) / macs.dense
ratios, counting = grid / 16, np.array([1.5, 1.0])

figure, axes = panels(2, 9.2, 4.2)
for ax, shown, value, title in (
    (axes[0], ratios, ratios @ counting, "Sum of I x"),
    (axes[1], np.log(ratios), np.log(ratios) @ counting, "Sum of I log x"),
):
    x, y = shown[..., 0], shown[..., 1]
    ax.contourf(x, y, cost, levels=[0, 0.7], colors=["#D6E6F2"])
    best = np.unravel_index(np.where(cost <= 0.7, value, -np.inf).argmax(), cost.shape)
    levels = np.sort(value[best] + np.ptp(value) * np.array([-0.3, -0.15, 0, 0.15]))
    ax.contour(x, y, value, levels=levels, colors="#888888", linewidths=0.8, linestyles="-")
    ax.plot(x[best], y[best], "o", ms=9, color=RED, clip_on=False, zorder=5)
    tidy(ax, title)
    ax.grid(False)
axes[0].set(xlabel=f"x of {names[first]}", ylabel=f"x of {names[second]}")
axes[1].set(xlabel=f"log x of {names[first]}", ylabel=f"log x of {names[second]}")
plt.show()

# %% [markdown]
# Blue is what the budget allows, grey are lines of equal objective, and the dot is the best point.
# On the left the edge bends inwards, and the best point of a linear objective is at an end of it:
# the stem is whole, and the other group pays for everything. On the right the allowed set is
# convex, and the best point is where it touches a line: both are narrowed.
#
# The linear objective, $\max \sum_g I_g x_g$, is the one that was published (Zheng et al.,
# arXiv:2108.08532). `SignomialProgram` solves it, with a bound on the global optimum. For all six
# groups and three budgets:

# %%
linear = SignomialProgram({"macs": macs}, importance)
concave = Program({"macs": macs}, importance)


def at_bounds(program, budget):
    """Return the optimum of a program, and how many of its widths are at a bound."""
    found = program.solve({"macs": budget * macs.dense})
    narrowest, whole = np.isclose(found.widths, 1), np.isclose(found.widths, dense)
    return {
        "widths": " ".join(f"{width:.1f}" for width in found.widths),
        "one unit left": int(narrowest.sum()),
        "whole": int(whole.sum()),
        "between": int((~narrowest & ~whole).sum()),
        "gap": round(found.gap, 6),
    }


rows = {}
for budget in (0.5, 0.3, 0.15):
    for title, program in (("sum of x", linear), ("sum of log x", concave)):
        rows[f"{budget:.0%} of the MACs", title] = at_bounds(program, budget)
pd.DataFrame(rows).T

# %% [markdown]
# The gaps are zero, so these *are* the optima. Under the linear objective all widths but one are at
# a bound, and the stem has a single channel left. With the logarithm each halving of a group costs
# as much as the one before: at these budgets none is down to one unit.
#
# The published networks are not at the bounds. Their importances are
# $\exp(-\beta' s_g / \sum_h s_h)$ with $\beta'$ from 231 to 2000. This is what that makes of our
# map:

# %%
published = {
    f"β' = {beta}": dependence.importance(beta=beta / len(names)) for beta in (231, 500, 2000)
}
pd.DataFrame(published, names).map("{:.0e}".format)

# %% [markdown]
# Numerically these are zeros. The published program was solved by SLSQP, from the whole network,
# and SLSQP stops when the objective changes by less than $10^{-6}$. So we hand it these
# importances, and then no importance at all:


# %%
def slsqp(importance, budget=0.5):
    """Maximize the sum of importance times ratio, from the whole network."""
    found = minimize(
        lambda x: -importance @ x,
        np.ones(len(names)),
        jac=lambda _: -importance,
        method="SLSQP",
        bounds=[(0, 1)] * len(names),
        constraints={"type": "ineq", "fun": lambda x: budget - macs(x * dense)[0] / macs.dense},
    )
    return found.x * dense


with_published = {name: slsqp(values) for name, values in published.items()}
pd.DataFrame({**with_published, "all zero": slsqp(np.zeros(len(names)))}, names).round(2).T

# %% [markdown]
# The same widths: where the solver stops, the dependence has had no say. `Program` scales the
# importance first, and in $\beta$ the number of groups is taken out, so that 1 means the same for
# any network.
#
# ### The certificate
# In one line, with whole numbers of units: measure, solve, round.

# %%
problem = op.Problem(
    task,
    space=op.Widths(score=op.scores.Compensation()),
    recovery=op.recovery.LeastSquares(),
    objectives=[op.metrics.error, op.metrics.macs],
    graph=graph,
)
half = op.optimizers.HSICAllocation((0.5,), floor=0.0).allocate(problem)[0.5]

print("widths:", dict(zip(names, half.widths.tolist(), strict=True)))
print(f"MACs: {half.costs['macs']:,.0f} of {half.budgets['macs']:,.0f} allowed")
print(f"utility {half.objective:.4f}; no widths have more than {half.bound:.4f}")
print(f"gap: {half.gap:.4f}, what {half.gap / half.multipliers['macs']:.2%} more MACs would buy")

# %% [markdown]
# The bound needs no trust in the solver: it follows from the widths and the *price* of the budget,
# what one more MAC would gain. The whole network has 0.76 million MACs. Prices can be checked by
# buying a little:

# %%
budget = half.budgets["macs"]
now, more = (concave.solve({"macs": budget * factor}) for factor in (1, 1.01))
print(f"price of a million MACs: {now.prices['macs'] * 1e6:.3f}")
print(f"price of 1 % of this budget: {now.prices['macs'] * 0.01 * budget:.5f}")
print(f"gained with 1 % more: {more.utility - now.utility:.5f}")

# %% [markdown]
# At the optimum (Karush, Kuhn, Tucker) it can be read off how MACs are handed out: a group that is
# free to grow and to shrink gets a *share of the cost in proportion to its importance*,
#
# $$\frac{\partial \log F}{\partial \log x_g} = \frac{I_g}{\lambda} .$$
#
# The left side is by how many percent the MACs fall when the group is narrowed by one percent. A
# group that is whole cannot grow; its share may be smaller.


# %%
reading = pd.DataFrame(
    {
        "width": now.widths.round(2),
        "share of the cost": macs.shares(now.widths),
        "importance / λ": importance / now.multipliers["macs"],
        "whole": np.isclose(now.widths, dense),
    },
    names,
)
print(f"violation of the conditions: {now.kkt:.0e}")
reading

# %% [markdown]
# ## 3. All budgets
# The program is compiled once, and a budget is a parameter of it. Thirty of them:

# %%
targets = tuple(np.linspace(0.05, 0.95, 30).tolist())
start = time.perf_counter()
allocations = op.optimizers.HSICAllocation(targets, floor=0.0).allocate(problem)
print(f"{len(allocations)} budgets in {time.perf_counter() - start:.0f} s")

over = sum(found.costs["macs"] > found.budgets["macs"] for found in allocations.values())
largest = max(found.gap / found.multipliers["macs"] for found in allocations.values())
print(f"over the budget: {over}; largest gap: what {largest:.1%} more MACs would buy")

# %%
budgets = np.array(sorted(allocations))
whole = np.stack([allocations[target].widths / dense for target in budgets])
relaxed = np.stack([allocations[target].relaxed / dense for target in budgets])
falls = np.diff(relaxed, axis=0).min() < -1e-6
print("a real width falls somewhere as the budget grows:", falls)

figure, axes = plt.subplots(
    2, 3, figsize=(9.6, 5.2), layout="constrained", sharex=True, sharey=True
)
for index, (ax, color) in enumerate(zip(axes.flat, COLORS, strict=True)):
    ax.plot(budgets, relaxed[:, index], color=color, lw=1.2, alpha=0.6)
    ax.plot(budgets, whole[:, index], "o", ms=3.5, color=color)
    tidy(ax, f"{names[index]}, {dense[index]} units")
for ax in axes[1]:
    ax.set_xlabel("budget (fraction of the MACs)")
for ax in axes[:, 0]:
    ax.set_ylabel("kept (fraction)")
axes[0, 0].set(xlim=(0, 1), ylim=(0, 1.04))
plt.show()

# %% [markdown]
# The line is the real optimum, the dots are whole units: several choices are about as good. The
# stem takes part in nearly half of the MACs and is narrowed first. That makes `stages.0.conv1`
# cheap, which reads it and writes to it, and which is whole at every budget but the least.

# %% [markdown]
# ## 4. Does the importance matter?
# Now the networks. Same space, same score for which units stay, same recovery; only the widths
# differ:
#
# - `HSIC`, as above;
# - `Taylor`: the importance of a group is the sum of the Taylor scores of its units;
# - `equal`: all groups count the same, so that only the MACs decide;
# - `random`: importances between 1/4 and 4, drawn by several seeds;
# - `tables`: no importance, but a table for each group, of what least squares cannot make up for at
#   each width;
# - `uniform`: the same share of every group, without any program.
#
# The programs are as on paper, without the floor under the widths that these optimizers have
# otherwise (`floor=0.0`); why they have one comes below.

# %%
convex, tables = op.optimizers.ConvexAllocation, op.optimizers.CompensationAllocation
LEVELS = (0.5, 0.3, 0.15, 0.05)
optimizers = {
    "HSIC": op.optimizers.HSICAllocation(LEVELS, floor=0.0),
    "Taylor": convex(LEVELS, importance=op.optimizers.ScoreSum(op.scores.Taylor()), floor=0.0),
    "equal": convex(LEVELS, floor=0.0),
    "tables": tables(LEVELS),
}
for seed in range(SEEDS):
    draw = op.optimizers.RandomImportance(spread=4, seed=seed)
    optimizers[f"random {seed}"] = convex(LEVELS, importance=draw, floor=0.0)
chosen = {name: optimizer.select(problem) for name, optimizer in optimizers.items()}
chosen["uniform"] = {level: problem.uniform(op.metrics.macs <= level) for level in LEVELS}

labels = task.validation.labels


def right(network):
    """Return for each validation image whether it is recognized."""
    return (task.predict(network, task.validation).argmax(1) == labels).numpy()


structures = {structure for found in chosen.values() for structure in found.values()}
measured = {structure: right(problem.network(structure)) for structure in structures}
dense_right = right(task.network)
print(len(measured), "networks repaired and measured on", len(labels), "images")
print(f"the dense network is wrong on {(~dense_right).sum()}")
used = [macs(chosen["uniform"][level].widths)[0] / macs.dense for level in LEVELS]
print("uniform widths cannot fill every budget, and use", ", ".join(f"{u:.1%}" for u in used))

# %% [markdown]
# What the choices look like at 15 % of the MACs:

# %%
pd.DataFrame({name: found[0.15].widths for name, found in chosen.items()}, names).T.assign(
    macs=[f"{macs(found[0.15].widths)[0] / macs.dense:.1%}" for found in chosen.values()]
)

# %% [markdown]
# And what they cost, in points of validation accuracy after `LeastSquares()`, without training:

# %%
METHODS = ["HSIC", "Taylor", "equal", "tables", "uniform"]
draws = [f"random {seed}" for seed in range(SEEDS)]
lost = pd.DataFrame(
    {
        name: [100 * (dense_right.mean() - measured[found[level]].mean()) for level in LEVELS]
        for name, found in chosen.items()
    },
    index=LEVELS,
)
table = lost[METHODS].map("{:.2f}".format)
table["random"] = [f"{row.min():.2f} to {row.max():.2f}" for _, row in lost[draws].iterrows()]
table.index = [f"{level:.0%} of the MACs" for level in LEVELS]
table

# %%
figure, axes = panels(len(LEVELS), 10, 2.9, sharey=True)
for ax, level in zip(axes, LEVELS, strict=True):
    ax.plot(lost.loc[level, METHODS], METHODS, "o", ms=7, color=BLUE)
    ax.plot(lost.loc[level, draws], ["random"] * SEEDS, "|", ms=12, mew=1.6, color="#777777")
    most = lost.loc[level].max()
    ax.set(xlim=(-0.06 * most, 1.08 * most), ylim=(len(METHODS) + 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    tidy(ax, f"{level:.0%} of the MACs")
figure.supxlabel("points of validation accuracy lost (the scales differ)", fontsize="medium")
plt.show()

# %% [markdown]
# One image is 0.25 points, so which of these differences are real? Two networks are compared on the
# same images. Those that both get right or both get wrong say nothing; of the others each network
# should get half, if there was no difference. That is an exact sign test. Each random draw is
# compared with HSIC, all others with each other. Among so many pairs some look different by chance,
# so the p-values are corrected for their number (Holm).

# %%
pairs = [*combinations(METHODS, 2), *((draw, "HSIC") for draw in draws)]
rows = []
for level in LEVELS:
    for pair in pairs:
        worse, better = sorted(pair, key=lambda name: measured[chosen[name][level]].sum())
        a, b = (measured[chosen[name][level]] for name in (better, worse))
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        p = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        rows.append((level, better, worse, only_a, only_b, p))
columns = ["level", "better", "worse", "only better right", "only worse right", "p"]
tests = pd.DataFrame(rows, columns=columns).sort_values("p", kind="stable", ignore_index=True)
tests["corrected p"] = (tests["p"] * (len(tests) - tests.index)).cummax().clip(upper=1)
tests["real"] = tests["corrected p"] < 0.05

for level in LEVELS:
    here = tests[tests["level"] == level]
    print(f"{level:.0%}: {here['real'].sum()} of {len(here)} differences are larger than chance")


def shown(table):
    p = {
        "p": table["p"].map("{:.0e}".format),
        "corrected p": table["corrected p"].map("{:.0e}".format),
    }
    return table.assign(level=[f"{level:.0%}" for level in table["level"]], **p).drop(
        columns="real"
    )


shown(tests[tests["real"]].sort_values(["level", "p"], ascending=[False, True]))

# %% [markdown]
# And those that come next, which may be chance:

# %%
shown(tests[~tests["real"]].head(6))

# %%
same = [level for level in LEVELS if chosen["HSIC"][level] == chosen["equal"][level]]
print("HSIC and equal choose the same network at", ", ".join(f"{level:.0%}" for level in same))
for level in LEVELS:
    units = np.abs(chosen["HSIC"][level].widths - chosen["equal"][level].widths)
    print(f"{level:.0%}: their widths differ by", *units, "units")

# %% [markdown]
# So, on this network and these 400 images:
#
# - *HSIC or equal importance?* The two choose the same widths, or nearly, and no difference between
#   them can be told from chance. What dependence adds to the budget is too little to be seen.
# - *At 50 and 30 %* no two choices can be told apart, nor HSIC from random importances.
# - *At 15 %* only two random draws stand out, by being worse. Uniform widths are ahead of HSIC by
#   nine images; that may be chance or not, 400 images do not decide it.
# - *At 5 %* it matters. Tables, uniform widths and Taylor all do better than HSIC and equal
#   importance, and so does a random draw. The tables, which know what can be repaired, lose least;
#   their lead over uniform widths may be chance.
#
# What went wrong with HSIC and equal importance? The stem is expensive, so it is narrow. Here is
# its width beside what is lost:

# %%
stem = names.index("stem")
pd.DataFrame(
    {
        (f"{level:.0%} of the MACs", title): [
            value(found[level], name) for name, found in chosen.items()
        ]
        for level in (0.15, 0.05)
        for title, value in (
            ("stem", lambda structure, _: structure.widths[stem]),
            ("points lost", lambda _, name, level=level: lost.loc[level, name]),
        )
    },
    index=list(chosen),
).sort_values(("5% of the MACs", "points lost"))

# %% [markdown]
# At 5 % all that leave the stem a single channel lose 18 points or more, and all others at most 11.
# Everything has to come through that channel, however much the layers behind it repeat. The program
# does not know: for it the last halving costs as much as the first. Is that the reason? HSIC once
# more, with the default floor: no group keeps less than 0.7 of the share that all would have in
# common.

# %%
wider = op.optimizers.HSICAllocation((0.05,)).select(problem)[0.05]
now_right, before = right(problem.network(wider)), measured[chosen["HSIC"][0.05]]
wins, losses = int((now_right & ~before).sum()), int((before & ~now_right).sum())
p = binomtest(wins, wins + losses).pvalue
print("widths:", wider.widths, f"MACs: {macs(wider.widths)[0] / macs.dense:.1%}")
print(f"points lost: {100 * (dense_right.mean() - now_right.mean()):.2f}")
print(f"right only now: {wins}, right only before: {losses}, p = {p:.0e}")

# %% [markdown]
# Most of it, then, which is why there is a floor by default. It does more at this budget than any
# of the importances; uniform widths, which are a floor of 1, need no importance at all.

# %% [markdown]
# ## 5. Two budgets at once
# `subject_to` adds budgets to the target: here also at most 20 % of the parameters. The prices tell
# which of the two binds: one that costs nothing is not in the way.

# %%
both = op.Problem(
    task,
    space=op.Widths(score=op.scores.Compensation()),
    recovery=op.recovery.LeastSquares(),
    objectives=[op.metrics.error, op.metrics.macs],
    subject_to=[op.metrics.parameters <= 0.2],
    graph=graph,
)
rows = {}
for target, found in (
    op.optimizers.HSICAllocation((0.5, 0.3, 0.2, 0.1), floor=0.0).allocate(both).items()
):
    rows[f"{target:.0%} of the MACs"] = {
        "widths": " ".join(map(str, found.widths)),
        "MACs": f"{found.costs['macs'] / macs.dense:.1%}",
        "parameters": f"{found.costs['parameters'] / graph.costs.parameters.dense:.1%}",
        "price of 1000 MACs": round(1e3 * found.prices["macs"], 4),
        "price of 1000 parameters": round(1e3 * found.prices["parameters"], 4),
        "binds": " and ".join(sorted(found.active)),
    }
pd.DataFrame(rows).T

# %% [markdown]
# At 50 % of the MACs only the parameters bind, and some of the MACs are not even used; at 10 % only
# the MACs do. In between both have a price.

# %% [markdown]
# ## Where to go from here
# - An allocation is a start as well: `op.optimizers.NSGA2(seeded_by=HSICAllocation(...))` puts its
#   structures into the first population of a search, which measures them and goes on from there.
# - `cost="latency"` allocates milliseconds instead of MACs, after measuring a few structures.
# - `op.Widths(minimum=4)` keeps a least width in every group.
# - `finish` trains what was chosen, as the quick start shows.
