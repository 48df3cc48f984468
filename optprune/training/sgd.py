"""Stochastic gradient descent with momentum, weight decay and a learning-rate schedule."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import Inputs, batch_size
from optprune.training.checkpoint import Checkpoint, identity
from optprune.training.hooks import Hooks, TrainingStep
from optprune.training.precision import PRECISIONS, Precision, available_precision, in_bfloat16
from optprune.training.progress import TrainingBar
from optprune.training.protocol import FitReport
from optprune.training.schedule import Schedule, check_schedule, learning_rate
from optprune.training.state import FitState
from optprune.training.stopping import held_out_loss, hold_out, put_back

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
        The learning rate at the start, or after the warmup.
    momentum : float
        In [0, 1).
    nesterov : bool
        Whether the gradient is taken where the momentum leads; off when `momentum` is 0.
    weight_decay : float
        Pulls weights towards zero: ``weight_decay * w`` is added to the gradient of each parameter
        with at least two dimensions (not to biases and normalization).
    schedule : {"cosine", "constant", "linear", "step"}
        Learning rate over the steps: down to zero along half a cosine, the same throughout, down
        to zero along a line, or lower by `factor` at each of the `milestones`; the formulas are
        those of `optprune.training.schedule.learning_rate`.
    clip : float, optional
        Largest norm of the gradient over all parameters; longer gradients are scaled down to it.
    hooks : Hooks
        What else happens in each step.
    milestones : tuple of float
        For ``schedule="step"``: fractions of the run, rising, between 0 and 1.
    factor : float
        For ``schedule="step"``: between 0 and 1.
    warmup : float
        Fraction of the steps in which the learning rate rises linearly from 0, in [0, 1).
    held_out : float
        Fraction of the data, in [0, 1), that is held out of training, at least one sample; drawn
        by the seed. Where it is not 0, the loss on these samples is measured after each epoch, and
        the weights where it was least are those that the network ends with.
    patience : int, optional
        Epochs without a lower loss on held-out data after which training ends; needs `held_out`.
        None goes through all epochs.
    precision : {"float32", "bfloat16"}
        What outputs are computed in: as the network and `outputs` have it, or under autocast in
        bfloat16. On a device that does not compute in bfloat16 itself, training warns and computes
        in float32.
    checkpoint : str or Path, optional
        A file that is written while training, and that the same fit goes on from when it was
        interrupted. One fit, one file.
    checkpoint_every : int
        Epochs between two writings; the start and the end are always written.
    progress : bool
        Whether a bar with the loss is shown, in a terminal or a notebook.

    Raises
    ------
    ArgumentError
        When a value is out of its range.
    ArgumentTypeError
        When `checkpoint` is no path.

    Notes
    -----
    With learning rate :math:`\eta_t`, momentum :math:`\mu` and gradient :math:`g_t` (of the loss
    that the hooks return, plus weight decay), :math:`v_{t+1} = \mu v_t + g_t` and
    :math:`w_{t+1} = w_t - \eta_t (g_t + \mu v_{t+1})` with Nesterov's momentum,
    :math:`w_{t+1} = w_t - \eta_t v_{t+1}` without. The cosine schedule is
    :math:`\eta_t = \eta\,(1 + \cos(\pi t / T)) / 2` for step t of T [1]_.

    The order of the data comes from a generator of its own that is seeded with `seed`; torch's
    global generator (dropout) is seeded alike for the time of the fit and restored afterwards.

    A fit that goes on from a checkpoint ends with the weights of an uninterrupted one, bit for
    bit where the device computes alike each time. The file remembers all that decides a fit: the
    settings (but `checkpoint`, `checkpoint_every` and `progress`, which change no weight and do
    not count when trainers are compared), data, seed, loss, the network's tensors, and the weights
    that it began with; `hooks` by their names alone, and what hooks remember is not restored. A
    network in another state than at the beginning or in the file is refused: after an
    interruption or an error, the network is therefore left as the last checkpoint has it. Once a
    fit has ended, the same call gives the network its final weights at once.

    In the fingerprint of a search's problem every field of a trainer counts, also `progress`. A
    checkpoint never does: `optprune.recovery.FineTune` refuses it, as all candidates of a search
    would share the file.

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
    schedule: Schedule = "cosine"
    clip: float | None = None
    hooks: Hooks = field(default_factory=Hooks)
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    warmup: float = 0.0
    held_out: float = 0.0
    patience: int | None = None
    precision: Precision = "float32"
    checkpoint: str | Path | None = field(default=None, compare=False)
    checkpoint_every: int = field(default=1, compare=False)
    progress: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "checkpoint_every"):
            _check_count(name, getattr(self, name))
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ArgumentError(f"lr must be a positive number, got {self.lr!r}.")
        if not 0 <= self.momentum < 1:
            raise ArgumentError(f"momentum must be at least 0 and below 1, got {self.momentum!r}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ArgumentError(f"weight_decay must not be negative, got {self.weight_decay!r}.")
        object.__setattr__(self, "milestones", tuple(self.milestones))
        check_schedule(self.schedule, self.milestones, self.factor, self.warmup)
        if self.clip is not None and not self.clip > 0:
            raise ArgumentError(f"clip must be a positive number or None, got {self.clip!r}.")
        if not 0 <= self.held_out < 1:
            raise ArgumentError(f"held_out must be at least 0 and below 1, got {self.held_out!r}.")
        if self.patience is not None:
            _check_count("patience", self.patience)
            if self.held_out == 0:
                raise ArgumentError(
                    f"patience={self.patience} needs data that is held out of training: give "
                    "held_out=0.1, for example."
                )
        if self.precision not in PRECISIONS:
            raise ArgumentError(
                f"precision must be 'float32' or 'bfloat16', got {self.precision!r}."
            )
        if self.checkpoint is not None and not isinstance(self.checkpoint, (str, Path)):
            raise ArgumentTypeError(
                f"checkpoint must be the path of a file or None, got {self.checkpoint!r}."
            )

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

        Seconds and samples of a fit that goes on from a checkpoint are those of this call.

        Raises
        ------
        TrainingError
            When the loss or, at the end, a parameter is not finite, when the network has no
            parameter to train, or the data no targets or too few samples to hold some out.
        LoadError, SaveError
            When the checkpoint belongs to another fit, or cannot be read or written.
        """
        parameters = [p for p in network.parameters() if p.requires_grad]
        if not parameters:
            raise TrainingError("network has no parameter to train: none has requires_grad=True.")
        order = torch.Generator().manual_seed(seed)
        train, held = hold_out(data, self.held_out, order)
        steps = self.epochs * self._steps_in_epoch(len(train))
        state = FitState(network, self._optimizer(parameters), order, data.device)
        precision = available_precision(self.precision, data.device)
        computed = outputs if precision == "float32" else in_bfloat16(outputs, data.device)
        start = time.perf_counter()
        with contextlib.ExitStack() as stack:
            stack.enter_context(meter.timed())
            stack.enter_context(_training(network, state.optimizer))
            stack.enter_context(_seeded(data.device, seed))
            stack.enter_context(torch.enable_grad())
            file = None
            if self.checkpoint is not None:
                started_with = identity(
                    self, network, data, loss=loss, outputs=outputs, seed=seed, precision=precision
                )
                file = Checkpoint(self.checkpoint, started_with)
                stack.enter_context(file.of(state))
            resumed = len(state.losses)
            bar = stack.enter_context(TrainingBar(self.progress, steps))
            run = _Run(state, train, parameters, steps, loss, computed, meter, bar)
            while state.reason is None:
                stopped = self._epoch(run)
                state.epoch += 1
                if held is not None:
                    value = held_out_loss(
                        network,
                        held,
                        size=self.batch_size,
                        loss=loss,
                        outputs=computed,
                        meter=meter,
                    )
                    state.best.add(value, network)
                state.reason = self._ended(state, stopped)
                ended = state.reason is not None
                if ended and held is not None:
                    put_back(network, state.best.weights)
                due = file is not None and state.epoch % self.checkpoint_every == 0
                if ended or due:
                    _check_parameters(parameters)
                    if file is not None:
                        file.save(state)
        return FitReport(
            losses=tuple(state.losses),
            steps=len(state.losses),
            epochs=len(state.losses) * self.epochs / steps,
            seconds=time.perf_counter() - start,
            reason=state.reason,
            held_out_losses=tuple(state.best.losses),
            best_epoch=state.best.epoch or None,
            resumed=resumed,
        )

    def _epoch(self, run: _Run) -> str | None:
        """Train for an epoch; return why a hook ended it, or None."""
        state, meter = run.state, run.meter
        for inputs, targets in self._batches(run.train, state.order):
            done = len(state.losses)
            rate = self._rate(done, run.steps)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            state.optimizer.zero_grad(set_to_none=True)
            found = run.outputs(state.network, inputs)
            value = run.loss(found, targets)
            meter.forward(batch_size(inputs))
            seen = float(value.detach())
            step = TrainingStep(
                state.network, done, run.steps, state.epoch, rate, inputs, targets, found, seen
            )
            total = self.hooks.loss(value, step)
            _check_finite(total, step)
            total.backward()  # type: ignore[no-untyped-call]
            meter.backward(batch_size(inputs))
            self.hooks.gradients(step)
            if self.clip is not None:
                nn.utils.clip_grad_norm_(run.parameters, self.clip)
            state.optimizer.step()
            state.losses.append(step.loss)
            run.bar.show(done + 1, step.loss)
            stopped = self.hooks.stepped(step)
            if stopped is not None:
                return stopped
        return None

    def _ended(self, state: FitState, stopped: str | None) -> str | None:
        """Return why the fit is over after an epoch, or None."""
        best = state.best
        kept = f"kept the weights of epoch {best.epoch}, the best on held-out data"
        if stopped is None and self.patience is not None and best.waited >= self.patience:
            waited = f"{best.waited} epoch{'s' if best.waited > 1 else ''}"
            return (
                f"stopped after epoch {state.epoch}: no lower loss on held-out data for {waited}; "
                f"{kept}"
            )
        if stopped is None and state.epoch == self.epochs:
            stopped = f"finished {self.epochs} epochs"
        return f"{stopped}; {kept}" if stopped is not None and best.waited > 0 else stopped

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

    def _rate(self, step: int, steps: int) -> float:
        return learning_rate(
            self.schedule,
            self.lr,
            step,
            steps,
            milestones=self.milestones,
            factor=self.factor,
            warmup=self.warmup,
        )

    def _steps_in_epoch(self, samples: int) -> int:
        steps, rest = divmod(samples, self.batch_size)
        return steps + (rest > 1 or (rest == 1 and steps == 0))

    def _batches(
        self, train: Split, order: torch.Generator
    ) -> Iterator[tuple[Inputs, torch.Tensor]]:
        """Walk once over the data in a new order."""
        batches = train.batches(self.batch_size, generator=order)
        for _, (inputs, targets) in zip(
            range(self._steps_in_epoch(len(train))), batches, strict=False
        ):
            if targets is None:
                raise TrainingError("data has no targets: give a split with targets.")
            yield inputs, targets


@dataclass(frozen=True)
class _Run:
    """What the epochs of one fit share."""

    state: FitState
    train: Split
    parameters: list[nn.Parameter]
    steps: int
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    outputs: Callable[[nn.Module, Inputs], torch.Tensor]
    meter: Meter
    bar: TrainingBar


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name} must be a positive integer, got {value!r}.")


def _check_finite(total: torch.Tensor, step: TrainingStep) -> None:
    if not bool(torch.isfinite(total.detach()).all()):
        raise TrainingError(
            f"The loss is {float(total.detach())} at step {step.step + 1} of {step.steps} "
            f"(epoch {step.epoch + 1}): lower lr (it is {step.learning_rate:.3g} here), set clip, "
            "or check the data."
        )


def _check_parameters(parameters: list[nn.Parameter]) -> None:
    if not all(bool(torch.isfinite(p.detach()).all()) for p in parameters):
        raise TrainingError("The last step left parameters that are not finite: lower lr.")


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
