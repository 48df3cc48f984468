"""Learning-rate schedules: the rate of each step, as a fraction of the run that is done."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from optprune.errors import ArgumentError

__all__ = ["SCHEDULES", "Schedule", "check_schedule", "learning_rate"]

Schedule: TypeAlias = Literal["cosine", "constant", "linear", "step"]

SCHEDULES: tuple[Schedule, ...] = ("cosine", "constant", "linear", "step")


def check_schedule(
    schedule: str, milestones: Sequence[float], factor: float, warmup: float
) -> None:
    """Check the settings of a schedule; see `learning_rate`.

    Raises
    ------
    ArgumentError
        When there is no such schedule, the milestones do not rise within (0, 1), `factor` is not
        within (0, 1), or `warmup` not within [0, 1).
    """
    if schedule not in SCHEDULES:
        raise ArgumentError(
            f"schedule must be one of {', '.join(map(repr, SCHEDULES))}, got {schedule!r}."
        )
    edges = (0.0, *milestones, 1.0)
    if not all(left < right for left, right in itertools.pairwise(edges)):
        raise ArgumentError(
            "milestones must be fractions of the run between 0 and 1, each larger than the one "
            f"before, such as (0.5, 0.75); got {tuple(milestones)!r}."
        )
    if not 0 < factor < 1:
        raise ArgumentError(f"factor must be above 0 and below 1, got {factor!r}.")
    if not 0 <= warmup < 1:
        raise ArgumentError(f"warmup must be at least 0 and below 1, got {warmup!r}.")


def learning_rate(
    schedule: Schedule,
    lr: float,
    step: int,
    steps: int,
    *,
    milestones: Sequence[float] = (0.5, 0.75),
    factor: float = 0.1,
    warmup: float = 0.0,
) -> float:
    r"""Return the learning rate of a step.

    Parameters
    ----------
    schedule : {"cosine", "constant", "linear", "step"}
        How the rate falls.
    lr : float
        The highest rate.
    step, steps : int
        Steps done before this one, and steps of the whole run.
    milestones : sequence of float
        For ``"step"``: fractions of the run at which the rate falls.
    factor : float
        For ``"step"``: what the rate is multiplied by at each milestone.
    warmup : float
        Fraction of the steps in which the rate rises.

    Returns
    -------
    float
        The rate, in the unit of `lr`.

    Notes
    -----
    With :math:`\eta` for `lr`, step t of T, and W the steps of warmup, ``round(warmup * T)``: the
    rate rises linearly from 0, :math:`\eta_t = \eta\,(t + 1) / (W + 1)` for :math:`t < W`, so that
    the first step is not lost and step W has the full rate [1]_. From there on, with
    :math:`p = (t - W) / (T - W)`,

    - ``"constant"``: :math:`\eta_t = \eta`;
    - ``"linear"``: :math:`\eta_t = \eta\,(1 - p)`;
    - ``"cosine"``: :math:`\eta_t = \eta\,(1 + \cos \pi p) / 2` [2]_;
    - ``"step"``: :math:`\eta_t = \eta\,f^m` with f for `factor` and m the number of milestones
      that are at most t / T [3]_.

    References
    ----------
    .. [1] P. Goyal et al., Accurate, large minibatch SGD: Training ImageNet in 1 hour, 2017,
       arXiv:1706.02677 (gradual warmup; that step t has (t + 1) / (W + 1) is ours).
    .. [2] I. Loshchilov and F. Hutter, SGDR: Stochastic gradient descent with warm restarts,
       ICLR 2017, arXiv:1608.03983 (without the restarts).
    .. [3] K. He, X. Zhang, S. Ren and J. Sun, Deep residual learning for image recognition,
       CVPR 2016, arXiv:1512.03385 (a tenth after a half and after three quarters of the steps).
    """
    rising = round(warmup * steps)
    if step < rising:
        return lr * (step + 1) / (rising + 1)
    progress = (step - rising) / (steps - rising)
    if schedule == "constant":
        return lr
    if schedule == "linear":
        return lr * (1 - progress)
    if schedule == "step":
        passed: int = sum(step / steps >= milestone for milestone in milestones)
        return float(lr * factor**passed)
    return lr * (1 + math.cos(math.pi * progress)) / 2
