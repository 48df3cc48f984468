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
# # Data assimilation: training without gradients
#
# A weather model is kept on course by *data assimilation*: many runs of the model are moved towards
# what was observed, by how state and observation vary together among the runs. A network can be
# trained in the same way. Its weights are the state, the targets are the observations, and an
# *ensemble* of networks carries the covariance of the two. Only forward passes are needed.
#
# This notebook shows what that does, where it works, and where it does not: first where the exact
# answer is known, then on curves, on classes, and as a repair of a network that was pruned.

# %%
import os
import time
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Ellipse
from torch import nn
from torch.func import functional_call

import optprune as op
from optprune.losses import accuracy, r2, rmse
from optprune.training import EKI, ESMDA, EnKF
from optprune.training.assimilation import (
    CrossEntropy,
    Ensemble,
    Gaussian,
    OutputBlocks,
    analysis,
    coefficients,
)

plt.rcParams["figure.dpi"] = 84  # small files
torch.set_num_threads(1)  # these networks are so small that a second thread only costs
BUDGET = int(os.environ.get("OPTPRUNE_NOTEBOOK_EVALUATIONS", "300"))
STARTS = 1 + min(BUDGET // 100, 2)  # networks to begin with
EPOCHS = (1, 2, 4, 8, 16, 32)[: 2 + min(BUDGET // 60, 4)]
MEMBERS = (25, 50, 100, 200)[: 2 + min(BUDGET // 100, 2)]

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


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# %% [markdown]
# ## 1. One analysis
# There are $n$ members with $p$ weights each, the rows of $\Theta$, and they predict $Y$ for the
# observations $d$, whose errors have the covariance $C$. Let $\Delta$ be the deviations from the
# mean of the members. In units in which the errors have variance 1, and with errors
# $e_j \sim N(0, I)$ that are drawn for each member,
#
# $$A = \Delta Y \, (\alpha C)^{-1/2}, \qquad
#   R_j = (\alpha C)^{-1/2} (d - Y_j) + e_j ,$$
#
# and one *analysis* is
#
# $$\Theta \;\leftarrow\; \Theta +
#   R A^\top \big( A A^\top + (n - 1) I \big)^{-1} \Delta\Theta .$$
#
# That is the Kalman update with the covariances of the ensemble, written so that the largest
# matrix to be solved is $n \times n$: the cost is linear in the weights and in the observations.
# Also to be seen: members move in the span of their own deviations $\Delta\Theta$, and nowhere
# else. The factor $\alpha$ makes the errors larger; for now it is 1.
#
# For a model that is linear in its weights, with a normal prior and normal errors, the posterior is
# known in closed form. Take a straight line through eight points, with a standard normal prior for
# intercept and slope:

# %%
ERROR = 0.5
x = torch.linspace(-1, 1, 8)
design = torch.stack([torch.ones_like(x), x], dim=1)
y = 1.0 - 0.8 * x + ERROR * torch.randn(8, generator=seeded(1))

exact_covariance = torch.linalg.inv(torch.eye(2) + design.T @ design / ERROR**2)
exact_mean = exact_covariance @ design.T @ y / ERROR**2


def line_by_ensemble(members, assimilations=1, seed=0):
    """Draw members from the prior, and condition them on the points."""
    generator = seeded(seed)
    lines = torch.randn(members, 2, generator=generator)
    for alpha in coefficients("constant", assimilations):
        predicted = lines @ design.T
        lines = analysis(lines, predicted, y, ERROR**2, inflation=alpha, generator=generator)
    return lines


# %% [markdown]
# The same data can be taken in several times, each time with errors made larger by a factor
# $\alpha_i$. If
#
# $$\sum_i \frac{1}{\alpha_i} = 1 ,$$
#
# the data counts once in all, and a linear model gets the same posterior. This is the *ensemble
# smoother with multiple data assimilation*, ESMDA. For a network, which is not linear, several
# short steps are much better than a long one, as will be seen.
#
# On the left: members before and after, with ellipses of two standard deviations, drawn from the
# formula. On the right: how far the ensemble is from the exact posterior.


# %%
def ellipse(mean, covariance, color, label):
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    width, height = 4 * np.sqrt(values[::-1])
    return Ellipse(mean, width, height, angle=angle, fill=False, color=color, lw=1.6, label=label)


def distances(members, assimilations):
    """Return the relative errors of mean and covariance, medians over 20 draws."""
    found = []
    for seed in range(20):
        lines = line_by_ensemble(members, assimilations, seed)
        off = (lines.mean(0) - exact_mean).norm() / exact_covariance.trace().sqrt()
        apart = (lines.T.cov() - exact_covariance).norm() / exact_covariance.norm()
        found.append((off.item(), apart.item()))
    return np.median(found, axis=0)


counts = np.array([10, 30, 100, 300])
figure, (left, middle) = panels(2, 10.4, 3.9)
for lines, color, name in (
    (torch.randn(200, 2, generator=seeded(0)), SKY, "prior"),
    (line_by_ensemble(200), ORANGE, "posterior"),
):
    left.plot(*lines.T, ".", color=color, ms=5, mew=0, alpha=0.8, label=f"{name}, members")
left.add_patch(ellipse((0, 0), np.eye(2), BLUE, "prior, exact"))
left.add_patch(ellipse(exact_mean, exact_covariance.numpy(), RED, "posterior, exact"))
left.plot(*exact_mean, "+", color=BLACK, ms=8, mew=1.6, label="posterior mean, exact")
left.set(xlabel="intercept", ylabel="slope", aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
left.legend(fontsize="small", frameon=False, bbox_to_anchor=(1, 1))
tidy(left, "A line through eight points, 200 members")

for assimilations, style in ((1, "-"), (4, "--")):
    errors = np.array([distances(members, assimilations) for members in counts])
    for values, what, color in zip(errors.T, ("mean", "covariance"), (BLUE, ORANGE), strict=True):
        label = f"{what}, {assimilations} assimilation{'s' if assimilations > 1 else ''}"
        middle.plot(counts, values, "o", ls=style, lw=1.4, ms=4, color=color, label=label)
middle.plot(counts, 1.0 / np.sqrt(counts), ":", color=BLACK, lw=1.2, label="∝ 1 / √members")
middle.set(xscale="log", yscale="log", xlabel="members", ylabel="relative error")
middle.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["0.02", "0.05", "0.1", "0.2", "0.5"])
middle.set_xticks(counts, counts)
middle.minorticks_off()
middle.legend(fontsize="small", frameon=False, loc="lower left")
tidy(middle, "Distance from the exact posterior")
plt.show()

# %% [markdown]
# The cloud fills the ellipse, and the errors fall about as the inverse square root of the number of
# members, with one assimilation and with four. So much is theory. A network is not linear, and
# often has more weights than there are members: what follows is about how far the method carries
# beyond what it is exact for.

# %% [markdown]
# ## 2. Two curves
# A network with one hidden layer of 20 tanh units is to follow $\sin(\pi x)$ on
# $[-1, 1]$, or the Mexican hat $(1 - x^2) e^{-x^2/2}$ on $[-4, 4]$, from 100 points without noise.
# The members are drawn around *one* network with random weights. Around zero nothing would be
# learned: hidden units can be exchanged and have their signs turned, so that no weight would have a
# covariance with any output.
#
# The whole of ESMDA is these few lines:

# %%
SIGMA = 0.02  # standard deviation that the targets' errors are taken to have


def esmda_by_hand(task, alphas, seed=0):
    """Return the ensemble at the start and after each assimilation."""
    generator = seeded(seed)
    inputs, targets = task.train.inputs, task.train.labels[:, 0]
    ensembles = [Ensemble.draw(task.network, 100, spread=0.3, generator=generator)]
    for alpha in alphas:
        last = ensembles[-1]
        predicted = last.forward(inputs)[:, :, 0]
        members = analysis(
            last.members, predicted, targets, SIGMA**2, inflation=alpha, generator=generator
        )
        ensembles.append(Ensemble(last.network, last.layout, members))
    return ensembles


def true_values(name, x):
    return torch.tensor(op.problems.regression.true_function(name)(x), dtype=torch.float32)


def error_of(name, task, answers):
    """Return the RMSE against the true function on the points of the validation split."""
    return rmse(answers, true_values(name, task.validation.inputs))


def filmed(name, ensembles, chosen, words):
    """Draw some of the ensembles over the data."""
    task = op.problems.regression.task(name, trained=False)
    grid = torch.linspace(*op.problems.regression.true_function(name).interval, 201)[:, None]
    titles = []
    for word, index in zip(words, chosen, strict=True):
        answers = ensembles[index].predict(task.validation.inputs).mean
        titles.append(f"{word}: RMSE {error_of(name, task, answers):.3f}")
    return op.plots.ensembles(
        task.train.inputs,
        task.train.labels,
        [ensembles[index].forward(grid) for index in chosen],
        true=true_values(name, grid),
        inputs_between=grid,
        titles=titles,
    )


passes = (0, 4, 7, 20)
sine = op.problems.regression.task("sine", trained=False)
by_hand = esmda_by_hand(sine, coefficients("constant", 20))
words = ["prior", *(f"pass {index}" for index in passes[1:])]
filmed("sine", by_hand, passes, words)[0].figure

# %% [markdown]
# The root mean squared error is that of the members' mean, against the true function half way
# between the points. With a constant $\alpha = 20$ every pass gives the data a twentieth of its
# weight. The Mexican hat, in fewer pictures:

# %%
hat = op.problems.regression.task("mexican_hat", trained=False)
hats = esmda_by_hand(hat, coefficients("constant", 20))
filmed("mexican_hat", hats, (0, 6, 20), ["prior", "pass 6", "pass 20"])[0].figure

# %% [markdown]
# `ESMDA` is the same as a trainer, which fits any network in place, and reports how it went. From
# the same seed it ends with the same members:


# %%
def fit(trainer, task, network, seed=0, loss=None, meter=None):
    """Fit a network to the task's train split, without gradients."""
    return trainer.fit(
        network,
        task.train,
        loss=loss or task.loss,
        outputs=task.outputs,
        seed=seed,
        meter=meter or op.Meter(),
    )


trainer = ESMDA(members=100, assimilations=20, observation=Gaussian(SIGMA))
report = fit(trainer, sine, op.problems.regression.network())
largest = (report.ensemble.members - by_hand[-1].members).abs().max()
print(f"{report.reason}; largest difference of a weight: {largest:.0e}")

# %% [markdown]
# ### How long should each step be?
# The coefficients may be equal, or halve from step to step, so that the first steps, where the
# model is least linear, are the shortest; or each may be set by the misfit of the members. The last
# takes as many passes as it needs. Beside them stands the ensemble Kalman filter (EnKF), which sees
# every point once, one after another.

# %%
schedules = {
    "constant, 4": ESMDA(assimilations=4, observation=Gaussian(SIGMA)),
    "constant, 20": ESMDA(assimilations=20, observation=Gaussian(SIGMA)),
    "decreasing, 20": ESMDA(
        assimilations=20, coefficients="decreasing", observation=Gaussian(SIGMA)
    ),
    "adaptive": ESMDA(assimilations=100, coefficients="adaptive", observation=Gaussian(SIGMA)),
    "EnKF, one pass": EnKF(observation=Gaussian(SIGMA)),
}
rows, reports = [], {}
for name, trainer in schedules.items():
    row = {"coefficients": name}
    for function, task in (("sine", sine), ("mexican_hat", hat)):
        found = []
        for seed in range(STARTS):
            network = op.problems.regression.network(seed=seed)
            report = fit(trainer, task, network, seed)
            truth = true_values(function, task.validation.inputs)
            answers = task.predict(network, task.validation)
            found.append((rmse(answers, truth), r2(answers, truth), report.steps))
            reports.setdefault((name, function), report)
        error, determined, steps = np.median(found, axis=0)
        said = function.replace("_", " ")
        row |= {f"{said}: RMSE": f"{error:.4f}", f"{said}: R²": f"{determined:.5f}"}
        row[f"{said}: analyses"] = int(steps)
    rows.append(row)
pd.DataFrame(rows).set_index("coefficients")

# %%
figure, (left, middle) = panels(2, 10.4, 3.4)
for (name, color), marker in zip(
    zip(list(schedules)[:4], (BLUE, GREEN, ORANGE, RED), strict=True), "sovD", strict=True
):
    report = reports[name, "sine"]
    spent = np.cumsum([1 / update.inflation for update in report.history])
    left.plot(
        np.arange(1, len(spent) + 1), spent, marker, ls="-", lw=1.4, ms=4, color=color, label=name
    )
    middle.plot(np.sqrt(report.losses), marker, ls="-", lw=1.4, ms=4, color=color, label=name)
left.axhline(1, color=BLACK, lw=1, ls=":")
left.set(yscale="log", xlabel="passes", ylabel="Σ 1/α so far")
middle.set(yscale="log", xlabel="passes before", ylabel="RMSE on train")
for ax in (left, middle):
    ax.set_xticks(range(0, 21, 4))
left.legend(fontsize="small", frameon=False, loc="lower right")
tidy(left, "The weight of the data that is used")
tidy(middle, "Error of the mean network before each pass (sine)")
plt.show()

# %% [markdown]
# Four long steps are too few. Halving the coefficient from step to step is no help with many
# steps: the first hardly count, and the last takes half of the data's weight at once. Twenty equal
# steps and adaptive ones do well; the adaptive ones need no number of steps to be chosen.

# %% [markdown]
# ### As the data arrives
# `EnKF.assimilate` takes in a batch of a stream. Here the points of the Mexican hat come five at a
# time: from left to right, where the grey part has not been seen yet, and in random order.

# %%
enkf = EnKF(observation=Gaussian(0.05))
streams = {}
for said in ("from the left", "in random order"):
    generator = seeded(0)
    kept = streams[said] = [
        Ensemble.draw(op.problems.regression.network(), 100, generator=generator)
    ]
    order = generator if said == "in random order" else None
    for inputs, targets in hat.train.batches(5, generator=order):
        kept.append(enkf.assimilate(kept[-1], inputs, targets, generator=generator))

shown = [(said, batches) for batches in (10, 20) for said in streams]
axes = filmed(
    "mexican_hat",
    [streams[said][batches] for said, batches in shown],
    range(4),
    [f"{5 * batches} {said}" for said, batches in shown],
)
for ax in axes:
    ax.set_title(ax.get_title(loc="left").replace(": ", "\n"), loc="left", fontsize="medium")
axes[0].axvspan(hat.train.inputs[49].item(), 4, color="#888888", alpha=0.15, lw=0, zorder=0)
axes[0].figure

# %% [markdown]
# For a linear model the order would make no difference. Here it does: while the filter follows the
# points on the right, it forgets those on the left, which it never sees again, and its band does
# not say so. In random order the same filter does well. Data that comes sorted is better shuffled,
# or taken at once by `ESMDA`.
#
# ### Is the spread an uncertainty?
# It is meant to be one: that of the posterior. How good it is can be checked, as the true function
# is known. Forty points get noise of standard deviation 0.1, and that is what the observation is
# told. What varies is the spread of the prior, in units of a layer's $1/\sqrt{\text{fan-in}}$. If
# the spread of the answers is right, the true function is within two standard deviations almost
# everywhere.

# %%
rows, drawn = [], []
noisy = op.problems.regression.task("sine", trained=False, noise=0.1, samples=40)
grid = torch.linspace(-1, 1, 201)[:, None]
for spread in (0.3, 0.5, 1.0):
    found = []
    for seed in range(STARTS):
        trainer = ESMDA(assimilations=20, observation=Gaussian(0.1), spread=spread)
        network = op.problems.regression.network(seed=seed)
        ensemble = fit(trainer, noisy, network, seed).ensemble
        drawn += [ensemble.forward(grid)] if seed == 0 and spread != 0.5 else []
        answers = ensemble.predict(grid)
        off = (answers.mean - true_values("sine", grid)).abs()
        covered = (off <= 2 * answers.spread).float().mean()
        wide = answers.spread.square().mean().sqrt()
        found.append((off.square().mean().sqrt().item(), wide.item(), covered.item()))
    error, wide, covered = np.median(found, axis=0)
    rows.append(
        {
            "spread of the prior": spread,
            "RMSE": f"{error:.3f}",
            "spread of the answers": f"{wide:.3f}",
            "true function within 2 sd": f"{covered:.0%}",
        }
    )
axes = op.plots.ensembles(
    noisy.train.inputs,
    noisy.train.labels,
    drawn,
    true=true_values("sine", grid),
    inputs_between=grid,
    titles=["prior of spread 0.3", "prior of spread 1"],
)
pd.DataFrame(rows).set_index("spread of the prior")

# %%
axes[0].figure

# %% [markdown]
# With the narrow prior the members agree with each other, and are wrong together: the prior says
# that the weights are near the random ones, and forty noisy points do not overrule it. An honest
# band has its price in error. So the spread says how sure an ensemble is *given its prior*, and a
# prior on weights is hard to choose.
#
# It gets worse when data is counted more than once, as in training one is used to. Here the same
# forty points are taken in 128 times, each time with $\alpha = 1$:

# %%
generator = seeded(0)
ensemble = Ensemble.draw(op.problems.regression.network(), 100, spread=0.5, generator=generator)
errors, spreads = [], []
for _ in range(128):
    members = analysis(
        ensemble.members,
        ensemble.forward(noisy.train.inputs)[:, :, 0],
        noisy.train.labels[:, 0],
        0.1**2,
        generator=generator,
    )
    ensemble = Ensemble(ensemble.network, ensemble.layout, members)
    answers = ensemble.predict(grid)
    errors.append(rmse(answers.mean, true_values("sine", grid)))
    spreads.append(answers.spread.square().mean().sqrt().item())

figure, ax = panels(1, 6.8, 3.4)
counted = np.arange(1, 129)
ax.plot(counted, errors, color=ORANGE, lw=1.8, label="error of the mean (RMSE)")
ax.plot(counted, spreads, color=BLUE, lw=1.8, label="spread of the members (sd)")
ax.set(xscale="log", yscale="log", xlabel="times that the data is counted", ylabel="in units of y")
ax.set_xticks(2 ** np.arange(8), 2 ** np.arange(8))
ax.set_yticks([0.01, 0.03, 0.1, 0.3, 1], ["0.01", "0.03", "0.1", "0.3", "1"])
ax.minorticks_off()
ax.legend(fontsize="small", frameon=False)
tidy(ax, "A collapse")
plt.show()

# %% [markdown]
# The error stops at what noisy points allow; the spread goes on falling. As a fit that may be
# welcome, and the error is less here than with data that is counted once. As an uncertainty the
# spread is worthless then: the ensemble has *collapsed*.

# %% [markdown]
# ## 3. Beside gradients
# The same network, the same start, the same 100 points of the sine; the clock is the processor's.
# Every time a method computes the loss of its network, the loss is noted, with the seconds and the
# samples that have gone through a network so far, forward or backward. `EKI` (ensemble Kalman
# inversion) draws new members around the mean for each step: an optimizer, without a posterior.

# %%
LIMIT = 0.1 + BUDGET / 300  # seconds of Adam


class Noted:
    """The squared error, which notes what it has cost so far."""

    def __init__(self):
        self.meter, self.start, self.rows = op.Meter(), time.process_time(), []

    def __call__(self, outputs, targets):
        value = nn.functional.mse_loss(outputs, targets)
        samples = self.meter.forward_samples + self.meter.backward_samples
        self.rows.append((time.process_time() - self.start, samples, value.item() ** 0.5))
        return value


def by_gradients(make, most, seed=0):
    """Minimize by a torch optimizer, for at most so many steps."""
    network, noted = op.problems.regression.network(seed=seed), Noted()
    optimizer = make(network.parameters())

    def closure():
        optimizer.zero_grad()
        noted.meter.forward(len(sine.train))
        value = noted(network(sine.train.inputs), sine.train.labels)
        value.backward()
        noted.meter.backward(len(sine.train))
        return value

    for _ in range(most):
        optimizer.step(closure)
        if time.process_time() - noted.start > LIMIT:
            break
    return network, noted


def by_ensemble(trainer, seed):
    network, noted = op.problems.regression.network(seed=seed), Noted()
    fit(trainer, sine, network, seed, loss=noted, meter=noted.meter)
    return network, noted


def first_order(parameters):
    return torch.optim.Adam(parameters, lr=0.01)


def quasi_newton(parameters):
    return torch.optim.LBFGS(
        parameters, max_iter=500, history_size=20, line_search_fn="strong_wolfe"
    )


smoother = ESMDA(assimilations=100, coefficients="adaptive", observation=Gaussian(0.005))
inversion = EKI(epochs=30, observation=Gaussian(0.01), momentum=0.0)
by_gradients(first_order, 1)  # what is loaded at the first use is not counted below
by_gradients(quasi_newton, 1)
by_ensemble(smoother, 0)


races = {
    "ESMDA, adaptive": [by_ensemble(smoother, seed) for seed in range(STARTS)],
    "EKI": [by_ensemble(inversion, seed) for seed in range(STARTS)],
    "Adam": [by_gradients(first_order, 10**6, seed) for seed in range(STARTS)],
    "L-BFGS": [by_gradients(quasi_newton, 1, seed) for seed in range(STARTS)],
}

# %%
figure, axes = panels(2, 10.4, 4.0, sharey=True)
for (name, runs), color in zip(races.items(), (BLUE, SKY, ORANGE, RED), strict=True):
    for run, (_, noted) in enumerate(runs):
        seconds, samples, errors = np.array(noted.rows).T
        best, label = np.minimum.accumulate(errors), None if run else name
        for ax, cost in zip(axes, (seconds, samples), strict=True):
            ax.plot(cost, best, color=color, lw=1.5, drawstyle="steps-post", label=label)
for ax, said in zip(
    axes, ("seconds of the processor", "samples, forward and backward"), strict=True
):
    ax.set(xscale="log", yscale="log", xlabel=said)
axes[0].set_ylabel("least RMSE so far, on train")
axes[0].legend(fontsize="small", frameon=False, loc="lower left")
tidy(axes[0], "The same network, by time")
tidy(axes[1], "By samples")
plt.show()

# %%
rows = []
for name, runs in races.items():
    found = []
    for network, noted in runs:
        there = next((row for row in noted.rows if row[2] <= 0.02), (np.inf, np.inf))
        last = error_of("sine", sine, sine.predict(network, sine.validation))
        found.append((*there[:2], noted.rows[-1][0], last))
    seconds, samples, whole, last = np.median(found, axis=0)
    rows.append(
        {
            "median": name,
            "seconds to an RMSE of 0.02": f"{seconds:.2f}",
            "samples to there": f"{samples:,.0f}",
            "seconds in all": f"{whole:.2f}",
            "RMSE at the end, validation": f"{last:.4f}",
        }
    )
pd.DataFrame(rows).set_index("median")

# %% [markdown]
# Assimilation takes few and large steps, each of which costs as many forward passes as there are
# members; gradient methods take many small ones. On so small a network an ensemble is computed
# nearly as fast as one member, so that it is ahead of Adam by the clock. L-BFGS needs a small
# fraction of the samples, ends with the least error in the median, and wins; Levenberg-Marquardt
# comes closer still (`benchmarks/README.md`). Where gradients are to be had, take one of the two
# for a curve like this. An ensemble is for where they are not, and for where a spread is wanted.

# %% [markdown]
# ## 4. Classes
# Handwritten digits, from scratch: 64 inputs, 32 tanh units, ten outputs, all layers, no
# gradients. `EKI` with `CrossEntropy` is set against `ESMDA`, with and without *localization*, and
# against Adam. Localization says which observations may move which weights. `OutputBlocks` lets the
# weights of an output in the last layer see the targets of that output alone, which are the only
# ones that they have an influence on. Each point is a training of its own.

# %%
digits = op.problems.digits.task()


def perceptron(activation=nn.Tanh, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 32), activation(), nn.Linear(32, 10)
        ).eval()


def right(network, split=digits.validation):
    return accuracy(digits.predict(network, split), split.labels)


def adam(network, epochs, meter):
    """Train by gradients."""
    optimizer, order = torch.optim.Adam(network.parameters(), lr=3e-3), seeded(0)
    for _ in range(epochs):
        for inputs, labels in digits.train.batches(64, generator=order):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs), labels).backward()
            optimizer.step()
            meter.forward(len(labels))
            meter.backward(len(labels))


def eki(epochs, **more):
    return EKI(epochs=epochs, batch_size=256, momentum=0.8, observation=CrossEntropy(), **more)


def esmda(passes, members=100, **more):
    return ESMDA(assimilations=passes, members=members, observation=Gaussian(0.1), **more)


learners = {
    "Adam (gradients)": None,
    "EKI, cross-entropy": eki,
    "ESMDA, OutputBlocks": lambda passes: esmda(passes, localization=OutputBlocks()),
    "ESMDA": esmda,
}
curves = []
for name, make in learners.items():
    for epochs in EPOCHS if make in (None, eki) else EPOCHS[:4]:
        network, meter, start = perceptron(), op.Meter(), time.process_time()
        if make is None:
            adam(network, epochs, meter)
        else:
            fit(make(epochs), digits, network, meter=meter)
        curves.append(
            {
                "method": name,
                "passes": epochs,
                "accuracy": right(network),
                "seconds": time.process_time() - start,
                "samples forward": meter.forward_samples,
                "samples backward": meter.backward_samples,
            }
        )
curves = pd.DataFrame(curves)

# %%
figure, ax = panels(1, 7.2, 4.2)
styles = zip(learners, (ORANGE, BLUE, GREEN, RED), "Dosv", strict=True)
for name, color, marker in styles:
    line = curves[curves["method"] == name]
    ax.plot(line["passes"], line["accuracy"], marker, ls="-", lw=1.4, ms=5, color=color, label=name)
ax.axhline(0.1, color=BLACK, lw=1, ls=":")
ax.text(EPOCHS[-1], 0.11, "guessing", fontsize="small", ha="right", va="bottom")
ax.set(xscale="log", ylim=(0, 1.02), xlabel="passes over the data")
ax.set_ylabel("validation accuracy (fraction)")
ax.set_xticks(EPOCHS, EPOCHS)
ax.minorticks_off()
ax.legend(loc="lower right", fontsize="small", frameon=False, bbox_to_anchor=(1, 0.15))
tidy(ax, "Digits from scratch, 100 members")
plt.show()

# %%
ends = curves.groupby("method", sort=False).last()
ends["accuracy"] = ends["accuracy"].map("{:.2%}".format)
ends["seconds"] = ends["seconds"].map("{:.1f}".format)
ends.map(lambda value: f"{value:,}" if isinstance(value, int) else value)

# %% [markdown]
# EKI comes to where Adam is, at many times the forward passes. Plain ESMDA stays behind, and more
# passes are of little help.
#
# ### Why ESMDA stays behind
# Two things can be told apart. The posterior is asked for in the span of the members, which are
# far fewer than the weights. What would be the most probable point of that span, under the same
# prior and the same errors? That can be found by gradients, with weights $w$ of the members as
# unknowns:
#
# $$\min_w \; \frac{1}{2 \sigma^2} \sum \| f(\bar\theta + w \, \Delta\Theta) - y \|^2
#   + \frac{n - 1}{2} \| w \|^2 .$$


# %%
def best_in_span(members):
    """Return the accuracy of the most probable weights in the span of an ensemble."""
    network = perceptron()
    ensemble = Ensemble.draw(network, members, generator=seeded(0))
    deviations, labels = ensemble.members - ensemble.mean, digits.train.labels
    unknown = torch.zeros(members, requires_grad=True)
    wanted = nn.functional.one_hot(labels, 10).float()

    def answers(split):
        weights = ensemble.layout.unflatten(ensemble.mean + unknown @ deviations)
        return functional_call(network, weights, (split.inputs,))

    def closure():
        optimizer.zero_grad()
        misfit = (answers(digits.train) - wanted).square().sum() / (2 * 0.1**2)
        value = (misfit + (members - 1) / 2 * unknown.square().sum()) / len(labels)
        value.backward()
        return value

    optimizer = torch.optim.LBFGS([unknown], max_iter=100, line_search_fn="strong_wolfe")
    optimizer.step(closure)
    with torch.no_grad():
        return accuracy(answers(digits.validation), digits.validation.labels)


by_members = {"most probable in the span (by gradients)": [best_in_span(n) for n in MEMBERS]}
for name, more in (("ESMDA, OutputBlocks", {"localization": OutputBlocks()}), ("ESMDA", {})):
    found = by_members[name] = []
    for members in MEMBERS:
        network = perceptron()
        fit(esmda(4, members, **more), digits, network)
        found.append(right(network))

figure, ax = panels(1, 7.2, 3.8)
for (name, found), color, marker in zip(
    by_members.items(), (BLACK, GREEN, RED), "xsv", strict=True
):
    ax.plot(MEMBERS, found, marker, ls="-", lw=1.4, ms=5, color=color, label=name)
ax.set(xscale="log", ylim=(0, 1.02), xlabel="members", ylabel="validation accuracy (fraction)")
ax.set_xticks(MEMBERS, MEMBERS)
ax.minorticks_off()
ax.legend(loc="lower right", fontsize="small", frameon=False)
tidy(ax, "The span of the ensemble, and what ESMDA makes of it")
plt.show()
pd.DataFrame(by_members, pd.Index(MEMBERS, name="members")).map("{:.2%}".format)

# %% [markdown]
# The span is a limit: with few members even its most probable point is a bad one. With some more,
# plain ESMDA does not come to that point: its covariances are sampled ones, wrong for all weights
# at once, its directions are those of the first draw in all passes, and the members draw together.
# `OutputBlocks` helps with both. Each output gets a combination of the members of its own, and is
# spared the noise of the others; so it is not held in the plain span, and can be better than its
# best point. EKI draws new directions for each batch, and learns more with as many members.

# %% [markdown]
# ### Where there is no gradient
# Round the hidden activations to five levels, $-1, -\tfrac12, 0, \tfrac12, 1$. The derivative is
# now zero wherever it exists, and gradients train the last layer alone. There is a remedy for this
# case, the *straight-through estimator*, which pretends that there was no rounding; it has to be
# made for each case. An ensemble varies weights by finite amounts, and needs no remedy.


# %%
class Rounded(nn.Module):
    def forward(self, x):
        return torch.round(2 * torch.tanh(x)) / 2


class StraightThrough(Rounded):
    def forward(self, x):
        smooth = torch.tanh(x)
        return smooth + (super().forward(x) - smooth).detach()


scores = {}
for name, activation in (
    ("Adam", Rounded),
    ("Adam, straight-through", StraightThrough),
    ("EKI", Rounded),
):
    network = perceptron(activation)
    if name == "EKI":
        fit(eki(EPOCHS[-2]), digits, network)
    else:
        adam(network, 2 * EPOCHS[-1], op.Meter())
    scores[name] = right(network)

figure, ax = panels(1, 6.8, 2.0)
bars = ax.barh(list(scores), list(scores.values()), color=[ORANGE, ORANGE, BLUE], height=0.65)
ax.bar_label(bars, fmt="{:.1%}", padding=3, fontsize="small")
ax.invert_yaxis()
ax.tick_params(axis="y", length=0)
ax.set(xlim=(0, 1.1), xlabel="validation accuracy (fraction)")
tidy(ax, "Activations rounded to five levels", grid="x")
plt.show()

# %% [markdown]
# ## 5. Repair of a pruned network
# Any trainer is a recovery: `FineTune(trainer)`. The residual network of the digits loses three
# tenths of every group, those of smallest L1 norm. What brings it back? `parameters="head.*"` lets
# assimilation move the last layer alone, which has few weights. For comparison the recoveries in
# closed form, and one epoch of gradients.

# %%
graph = op.trace(digits.network, digits.example)


def problem_with(recovery):
    return op.Problem(
        digits,
        space=op.Widths(score=op.scores.L1()),
        recovery=recovery,
        objectives=[op.metrics.error, op.metrics.macs],
        graph=graph,
    )


head = {"parameters": "head.*", "batch_size": 128}
by_esmda = ESMDA(observation=Gaussian(0.5), spread=1.0, localization=OutputBlocks(), **head)
by_eki = EKI(epochs=3, observation=CrossEntropy(), **head)
recoveries = {
    "nothing": op.recovery.Nothing(),
    "ESMDA, last layer": op.recovery.FineTune(by_esmda),
    "EKI, last layer": op.recovery.FineTune(by_eki),
    "BatchNorm": op.recovery.BatchNorm(),
    "BatchNorm, then ESMDA": op.recovery.Pipeline(
        (op.recovery.BatchNorm(), op.recovery.FineTune(by_esmda))
    ),
    "BatchNorm, then EKI": op.recovery.Pipeline(
        (op.recovery.BatchNorm(), op.recovery.FineTune(by_eki))
    ),
    "LeastSquares": op.recovery.LeastSquares(),
    "SGD, one epoch": op.recovery.FineTune(op.training.SGD(epochs=1, lr=0.01)),
}
space = problem_with(op.recovery.Nothing()).bound_space
cut = space.decode(space.uniform(0.7))[0]
rows = []
for name, recovery in recoveries.items():
    problem, start = problem_with(recovery), time.process_time()
    values = problem.evaluate(cut)
    rows.append((name, 1 - values["error"], time.process_time() - start))
print(f"{values['macs']:.1%} of the MACs; dense: {right(digits.network):.2%}")

# %%
figure, ax = panels(1, 7.2, 3.8)
names, found, seconds = zip(*rows, strict=True)
kinds = [BLUE if "ESMDA" in name or "EKI" in name else "#666666" for name in names]
bars = ax.barh(names, found, color=kinds, height=0.75)
labels = [f"{value:.2%} in {spent:.1f} s" for value, spent in zip(found, seconds, strict=True)]
ax.bar_label(bars, labels, label_type="center", color="white", fontsize="small")
ax.axvline(right(digits.network), color=BLACK, lw=1.2, ls=":", label="dense")
ax.legend(fontsize="small", frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
ax.invert_yaxis()
ax.tick_params(axis="y", length=0)
ax.set(xlim=(0, 1.02), xlabel="validation accuracy (fraction)")
tidy(ax, f"Repaired at {values['macs']:.0%} of the MACs", grid="x")
plt.show()

# %% [markdown]
# Moving the last layer alone brings back most of what was lost, and behind a recalibration a little
# more. One of the 400 images is 0.25 %, so that the last four are alike. `LeastSquares` gets there
# without labels and without an ensemble, by repairing every layer, and one epoch of gradients gets
# there too, both in less time: where they apply, they are the better choice. Assimilation is for
# the rest: a network or a loss that has no gradient, and outputs that no formula fits. And it says
# how sure it is. The members of `ESMDA` can vote:

# %%
network = op.cut(digits.network, graph, cut)
ensemble = fit(by_esmda, digits, network).ensemble
votes = ensemble.forward(digits.validation.inputs).argmax(dim=2)
mean = ensemble.mean_network()
answers = digits.predict(mean, digits.validation).argmax(dim=1)
agreement = (votes == answers).double().mean(dim=0)
wrong = answers != digits.validation.labels

rows = []
for low, high in pairwise((0.0, 0.6, 0.8, 0.95, 1.01)):
    chosen = (agreement >= low) & (agreement < high)
    share = f"{wrong[chosen].double().mean():.1%}" if chosen.any() else ""
    said = f"{low:.0%} to {min(high, 1):.0%}"
    rows.append({"members that agree": said, "images": int(chosen.sum()), "wrong": share})
pd.DataFrame(rows).set_index("members that agree")

# %% [markdown]
# Where the members agree they are seldom wrong, and where they do not it is worth a look. As
# section 2 showed, the shares themselves are no probabilities.

# %% [markdown]
# ## 6. What to choose when
#
# | you have | take |
# |---|---|
# | gradients, and want a fit | L-BFGS or Levenberg-Marquardt if small, else `SGD`, `Distillation` |
# | a pruned network that least squares can fit | `LeastSquares`, with `BatchNorm` if need be |
# | few weights, a curve, no gradient | `ESMDA(coefficients="adaptive")`, 100 members |
# | data that arrives bit by bit | `EnKF`, by `assimilate` |
# | classes, many weights, no gradient | `EKI` with `CrossEntropy` and mini-batches |
# | outputs that share no weights, no gradient | `EKI` with `BinaryCrossEntropy` and a `Mask` |
# | a last layer to refit | `parameters="head.*"`, with `OutputBlocks` for `ESMDA` |
# | a wish for uncertainty | `ESMDA` or `EnKF`, data counted once; check it on held-out data |
#
# Draw members around a network with random or trained weights, never around zero. If the spread is
# gone before the error is, the ensemble is too small, or the errors of the observations are.
