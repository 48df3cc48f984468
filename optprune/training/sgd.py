"""Stochastic gradient descent with momentum, weight decay and a learning-rate schedule."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from optprune.errors import ArgumentError, TrainingError
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import Inputs, batch_size
from optprune.training.hooks import Hooks, TrainingStep
from optprune.training.protocol import FitReport

__all__ = ["SGD"]


@dataclass(frozen=True)
class SGD:
    r"""Stochastic gradient descent with momentum.

    Parameters
    ----------
    epochs : int
        Passes over the data.
    batch_size : int
        Samples in a step. A last batch of one sample is left out where there are others: batch
        normalization has no statistics over one.
    lr : float
        The learning rate at the start.
    momentum : float
        In [0, 1).
    nesterov : bool
        Whether the gradient is taken where the momentum leads; off when `momentum` is 0.
    weight_decay : float
        Pulls weights towards zero: ``weight_decay * w`` is added to the gradient of each parameter
        with at least two dimensions (not to biases and normalization).
    schedule : {"cosine", "constant"}
        Learning rate over the steps: down to zero along half a cosine, or the same throughout.
    clip : float, optional
        Largest norm of the gradient over all parameters; longer gradients are scaled down to it.
    hooks : Hooks
        What else happens in each step.

    Raises
    ------
    ArgumentError
        When a value is out of its range.

    Notes
    -----
    With learning rate :math:`\eta_t`, momentum :math:`\mu` and gradient :math:`g_t` (of the loss
    that the hooks return, plus weight decay), :math:`v_{t+1} = \mu v_t + g_t` and
    :math:`w_{t+1} = w_t - \eta_t (g_t + \mu v_{t+1})` with Nesterov's momentum,
    :math:`w_{t+1} = w_t - \eta_t v_{t+1}` without. The cosine schedule is
    :math:`\eta_t = \eta\,(1 + \cos(\pi t / T)) / 2` for step t of T [1]_.

    The order of the data comes from a generator of its own that is seeded with `seed`; torch's
    global generator (dropout) is seeded alike for the time of the fit and restored afterwards.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, SGDR: Stochastic gradient descent with warm restarts,
       ICLR 2017, arXiv:1608.03983 (without the restarts).
    """

    epochs: int = 10
    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float | None = None
    hooks: Hooks = field(default_factory=Hooks)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{name} must be a positive integer, got {value!r}.")
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ArgumentError(f"lr must be a positive number, got {self.lr!r}.")
        if not 0 <= self.momentum < 1:
            raise ArgumentError(f"momentum must be at least 0 and below 1, got {self.momentum!r}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(f"weight_decay must not be negative, got {self.weight_decay!r}.")
        if self.schedule not in ("cosine", "constant"):
            raise ArgumentError(f"schedule must be 'cosine' or 'constant', got {self.schedule!r}.")
        if self.clip is not None and not self.clip > 0:
            raise ArgumentError(f"clip must be a positive number or None, got {self.clip!r}.")

    def fit(
        self,
        network: nn.Module,
        data: Split,
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        outputs: Callable[[nn.Module, Inputs], torch.Tensor],
        seed: int,
        meter: Meter,
    ) -> FitReport:
        """Fit a network in place; see `optprune.training.Trainer.fit`.

        Raises
        ------
        TrainingError
            When the loss or, at the end, a parameter is not finite, when the network has no
            parameter to train, or the data no targets.
        """
        parameters = [p for p in network.parameters() if p.requires_grad]
        if not parameters:
            raise TrainingError("network has no parameter to train: none has requires_grad=True.")
        optimizer = self._optimizer(parameters)
        steps = self.epochs * self._steps_in_epoch(len(data))
        losses: list[float] = []
        reason = None
        start = time.perf_counter()
        with (
            meter.timed(),
            _training(network, optimizer),
            _seeded(data.device, seed),
            torch.enable_grad(),
        ):
            for epoch, inputs, targets in self._batches(data, seed):
                done = len(losses)
                rate = self._rate(done / steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad(set_to_none=True)
                found = outputs(network, inputs)
                value = loss(found, targets)
                meter.forward(batch_size(inputs))
                step = TrainingStep(
                    network, done, steps, epoch, rate, inputs, targets, found, float(value.detach())
                )
                total = self.hooks.loss(value, step)
                _check_finite(total, step)
                total.backward()  # type: ignore[no-untyped-call]
                meter.backward(batch_size(inputs))
                self.hooks.gradients(step)
                if self.clip is not None:
                    nn.utils.clip_grad_norm_(parameters, self.clip)
                optimizer.step()
                losses.append(step.loss)
                reason = self.hooks.stepped(step)
                if reason is not None:
                    break
        if not all(bool(torch.isfinite(p.detach()).all()) for p in parameters):
            raise TrainingError("The last step left parameters that are not finite: lower lr.")
        return FitReport(
            losses=tuple(losses),
            steps=len(losses),
            epochs=len(losses) * self.epochs / steps,
            seconds=time.perf_counter() - start,
            reason=reason or f"finished {self.epochs} epochs",
        )

    def _optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.SGD:
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.dim() >= 2]},
            {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(
            [group for group in groups if group["params"]],
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            weight_decay=self.weight_decay,
        )

    def _rate(self, progress: float) -> float:
        if self.schedule == "constant":
            return self.lr
        return self.lr * (1 + math.cos(math.pi * progress)) / 2

    def _steps_in_epoch(self, samples: int) -> int:
        steps, rest = divmod(samples, self.batch_size)
        return steps + (rest > 1 or (rest == 1 and steps == 0))

    def _batches(self, data: Split, seed: int) -> Iterator[tuple[int, Inputs, torch.Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        steps = self._steps_in_epoch(len(data))
        for epoch in range(self.epochs):
            batches = data.batches(self.batch_size, generator=generator)
            for _, (inputs, targets) in zip(range(steps), batches, strict=False):
                if targets is None:
                    raise TrainingError("data has no targets: give a split with targets.")
                yield epoch, inputs, targets


def _check_finite(total: torch.Tensor, step: TrainingStep) -> None:
    if not bool(torch.isfinite(total.detach()).all()):
        raise TrainingError(
            f"The loss is {float(total.detach())} at step {step.step + 1} of {step.steps} "
            f"(epoch {step.epoch + 1}): lower lr (it is {step.learning_rate:.3g} here), set clip, "
            "or check the data."
        )


@contextlib.contextmanager
def _training(network: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    try:
        yield
    finally:
        optimizer.zero_grad(set_to_none=True)
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
