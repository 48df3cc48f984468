"""What all assimilation trainers share: the loop over passes, its state, and what goes wrong."""

from __future__ import annotations

import contextlib
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError, TrainingWarning
from optprune.meter import Meter
from optprune.split import Split
from optprune.surgery.calling import Inputs, batch_size, evaluating
from optprune.training.assimilation.coefficients import check_count
from optprune.training.assimilation.ensemble import Ensemble
from optprune.training.assimilation.layout import Layout
from optprune.training.assimilation.localization import Block, Localization, check_localization
from optprune.training.assimilation.observation import (
    Gaussian,
    Observation,
    Observed,
    check_observation,
)
from optprune.training.assimilation.report import AssimilationReport, Update
from optprune.training.assimilation.state import AssimilationState
from optprune.training.checkpoint import Checkpoint, identity
from optprune.training.hooks import Hooks, TrainingStep, check_without_gradients
from optprune.training.progress import TrainingBar
from optprune.training.stopping import held_out_loss, hold_out

__all__ = ["Assimilating", "Run"]

_HELD = 1024
"""Samples in a batch of held-out data."""


@dataclass(frozen=True)
class Run:
    """What the passes of one fit share; `scales` is what the members are drawn with at first."""

    state: AssimilationState
    scales: torch.Tensor
    train: Split
    steps: int
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    outputs: Callable[[nn.Module, Inputs], torch.Tensor]
    meter: Meter
    bar: TrainingBar


@dataclass(frozen=True, kw_only=True)
class Assimilating(ABC):
    """A trainer that moves weights by their covariance with the outputs, over an ensemble.

    The fields are documented where they are used: `ESMDA`, `EnKF`, `EKI`.
    """

    members: int = 100
    observation: Observation = field(default_factory=Gaussian)
    spread: float | Mapping[str, float] = 0.3
    parameters: str | tuple[str, ...] = "*"
    localization: Localization | None = None
    held_out: float = 0.0
    patience: int | None = None
    vectorized: bool = True
    hooks: Hooks = field(default_factory=Hooks)
    checkpoint: str | Path | None = field(default=None, compare=False)
    checkpoint_every: int = field(default=1, compare=False)
    progress: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if isinstance(self.members, bool) or not isinstance(self.members, int) or self.members < 2:
            raise ArgumentError(
                f"{owner}: `members` must be a whole number of at least 2, got {self.members!r}: "
                "there is no covariance in fewer."
            )
        check_observation(owner, self.observation)
        check_localization(owner, self.localization)
        check_without_gradients(owner, self.hooks)
        check_count("checkpoint_every", self.checkpoint_every)
        if not 0 <= self.held_out < 1:
            raise ArgumentError(
                f"{owner}: `held_out` must be at least 0 and below 1, got {self.held_out!r}."
            )
        if self.patience is not None:
            check_count("patience", self.patience)
            if self.held_out == 0:
                raise ArgumentError(
                    f"{owner}: patience={self.patience} needs data that is held out of training: "
                    "give held_out=0.1, for example."
                )
        if self.checkpoint is not None and not isinstance(self.checkpoint, (str, Path)):
            raise ArgumentTypeError(
                f"{owner}: `checkpoint` must be the path of a file or None, got "
                f"{self.checkpoint!r}."
            )

    @abstractmethod
    def _begin(
        self, network: nn.Module, layout: Layout, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """Return what is kept from step to step, at the start."""

    @abstractmethod
    def _passes(self) -> int:
        """Return how many passes over the data there are at most."""

    @abstractmethod
    def _steps(self, samples: int) -> int:
        """Return how many steps a pass over so many samples has."""

    @abstractmethod
    def _pass(self, run: Run) -> str | None:
        """Go once over the data; return why the fit is to end, or None."""

    @abstractmethod
    def _follow(
        self, kept: dict[str, torch.Tensor], weights: torch.Tensor, changed: torch.Tensor
    ) -> None:
        """Give what is kept the weights of the mean network where they were changed."""

    def fit(
        self,
        network: nn.Module,
        data: Split,
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        outputs: Callable[[nn.Module, Inputs], torch.Tensor],
        seed: int,
        meter: Meter,
    ) -> AssimilationReport:
        """Fit a network in place, without gradients; see `optprune.training.Trainer.fit`.

        The network ends with the mean of the members as its weights. `loss` is reported, and
        judges held-out data; what is fitted is the observation. Outputs are computed in
        evaluation mode: dropout is off.

        Raises
        ------
        TrainingError
            When the network normalizes by the statistics of batches, the data has no targets, all
            members but one diverge, or what comes out is not finite.
        ArgumentError
            When names or patterns of parameters fit nothing in the network.
        LoadError, SaveError
            When the checkpoint belongs to another fit, or cannot be read or written.
        """
        check_network(network)
        owner = type(self).__name__
        generator = torch.Generator().manual_seed(seed)
        train, held = hold_out(data, self.held_out, generator)
        if train.targets is None:
            raise TrainingError("data has no targets: give a split with targets.")
        layout = Layout.of(network, self.parameters, owner=owner)
        scales = layout.scales(self.spread, owner=owner).to(layout.flat(network))
        state = AssimilationState(network, layout, generator, {})
        steps_in_pass = self._steps(len(train))
        steps = self._passes() * steps_in_pass
        start = time.perf_counter()
        with contextlib.ExitStack() as stack:
            stack.enter_context(meter.timed())
            stack.enter_context(evaluating(network))
            stack.enter_context(torch.no_grad())
            file = None
            state.tensors_kept = self._begin(network, layout, generator)
            if self.checkpoint is not None:
                started_with = identity(
                    self, network, data, loss=loss, outputs=outputs, seed=seed, precision="float32"
                )
                file = Checkpoint(self.checkpoint, started_with)
                stack.enter_context(file.of(state))
            resumed = len(state.losses)
            bar = stack.enter_context(TrainingBar(self.progress, steps))
            run = Run(state, scales, train, steps, loss, outputs, meter, bar)
            while state.reason is None:
                stopped = self._pass(run)
                state.epoch += 1
                if held is not None:
                    state.judge(
                        held_out_loss(
                            network, held, size=_HELD, loss=loss, outputs=outputs, meter=meter
                        )
                    )
                state.reason = self._ended(state, stopped)
                ended = state.reason is not None
                if ended and held is not None:
                    state.return_to_best()
                if file is not None and (ended or state.epoch % self.checkpoint_every == 0):
                    file.save(state)
        members = state.tensors_kept.get("members")
        return AssimilationReport(
            losses=tuple(state.losses),
            steps=len(state.losses),
            epochs=len(state.losses) / steps_in_pass,
            seconds=time.perf_counter() - start,
            reason=state.reason,
            held_out_losses=tuple(state.best.losses),
            best_epoch=state.best.epoch or None,
            resumed=resumed,
            history=tuple(state.history),
            ensemble=None if members is None else Ensemble(network, layout, members),
        )

    def _ended(self, state: AssimilationState, stopped: str | None) -> str | None:
        """Return why the fit is over after a pass, or None."""
        best = state.best
        kept = f"kept the weights of pass {best.epoch}, the best on held-out data"
        if stopped is None and self.patience is not None and best.waited >= self.patience:
            return (
                f"stopped after pass {state.epoch}: no lower loss on held-out data for "
                f"{best.waited} passes; {kept}"
            )
        if stopped is None and state.epoch == self._passes():
            stopped = f"finished {state.epoch} passes"
        return f"{stopped}; {kept}" if stopped is not None and best.waited > 0 else stopped

    def _observe(
        self,
        state: AssimilationState,
        members: torch.Tensor,
        inputs: Inputs,
        targets: torch.Tensor,
        outputs: Callable[[nn.Module, Inputs], torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, Observed]:
        """Set all members and the mean network, which is in evaluation mode, against a batch.

        Returns
        -------
        Tensor of float, shape (n_left, n_parameters)
            The members that did not diverge.
        Tensor of float, shape (n_samples, ...)
            The outputs of the mean network.
        Observed
            Of the members that are left.
        """
        ensemble = Ensemble(state.network, state.layout, members)
        predictions = ensemble.forward(inputs, outputs=outputs, vectorized=self.vectorized)
        members, predictions = surviving(members, predictions)
        center = outputs(state.network, inputs)
        if not bool(torch.isfinite(center).all()):
            raise TrainingError(
                f"The outputs of the mean network are not finite at step {len(state.history) + 1}: "
                "take a smaller spread, or larger errors of the observations."
            )
        return members, center, self.observation.observe(predictions, center, targets)

    def _observe_in(
        self, run: Run, members: torch.Tensor, inputs: Inputs, targets: torch.Tensor
    ) -> tuple[torch.Tensor, Observed, TrainingStep | None]:
        """Observe a batch in a fit: on its meter, and with the loss in its report.

        Returns
        -------
        Tensor of float, shape (n_left, n_parameters)
            The members that did not diverge.
        Observed
            Of these.
        TrainingStep, optional
            What hooks see after the step; None where there are none.
        """
        state = run.state
        run.meter.forward(batch_size(inputs) * (len(members) + 1))
        members, center, observed = self._observe(state, members, inputs, targets, run.outputs)
        state.losses.append(float(run.loss(center, targets)))
        run.bar.show(len(state.losses), state.losses[-1])
        step = None
        if self.hooks.after_step or self.hooks.every:
            step = TrainingStep(
                network=state.network,
                step=len(state.losses) - 1,
                steps=run.steps,
                epoch=state.epoch,
                learning_rate=None,
                inputs=inputs,
                targets=targets,
                outputs=center,
                loss=state.losses[-1],
            )
        return members, observed, step

    def _stepped(self, state: AssimilationState, step: TrainingStep | None) -> str | None:
        """Call the hooks after a step; return why the fit is to end, or None.

        Raises
        ------
        TrainingError
            When a hook leaves weights that are not finite.
        """
        if step is None:
            return None
        before = state.layout.flat(state.network)
        stopped = self.hooks.stepped(step)
        weights = state.layout.flat(state.network)
        changed = weights != before
        if bool(changed.any()):
            if not bool(torch.isfinite(weights).all()):
                raise TrainingError(
                    f"A hook left weights that are not finite after step {step.step + 1} of "
                    f"{step.steps}."
                )
            self._follow(state.tensors_kept, weights, changed)
        return stopped

    def _blocks(self, layout: Layout, members: torch.Tensor, observed: Observed) -> Sequence[Block]:
        """Divide the parameters as `localization` does; without it, all are one block."""
        if self.localization is None:
            return (Block(torch.arange(members.shape[1], device=members.device)),)
        return self.localization.blocks(layout, members, observed)


def record(
    state: AssimilationState, alpha: float, members: torch.Tensor, observed: Observed
) -> None:
    """Add an analysis to the history, with the spread of these members."""
    state.history.append(
        Update(
            inflation=alpha,
            misfit=float(observed.innovations.square().mean()),
            spread=Ensemble(state.network, state.layout, members).spread,
            members=len(members),
            samples=observed.n_samples,
        )
    )


def surviving(
    members: torch.Tensor, predictions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out the members whose outputs are not finite, with a warning.

    Raises
    ------
    TrainingError
        When fewer than two are left.
    """
    alive = torch.isfinite(predictions).flatten(1).all(1)
    lost = int((~alive).sum())
    if lost == 0:
        return members, predictions
    remedy = "take a smaller spread, or larger errors of the observations"
    if len(members) - lost < 2:
        raise TrainingError(
            f"The outputs of {lost} of {len(members)} members are not finite: {remedy}."
        )
    warnings.warn(
        f"The outputs of {lost} of {len(members)} members are not finite; these members are left "
        f"out. If that goes on, {remedy}.",
        TrainingWarning,
        stacklevel=2,
    )
    return members[alive], predictions[alive]


def batches(
    train: Split, size: int | None, generator: torch.Generator
) -> Iterator[tuple[Inputs, torch.Tensor]]:
    """Walk once over the data: all at once, or in mini-batches of a new order."""
    if size is None or size >= len(train):
        yield train.inputs, train.labels
        return
    for inputs, targets in train.batches(size, generator=generator):
        assert targets is not None
        yield inputs, targets


def check_network(network: nn.Module) -> None:
    """Refuse normalization by the statistics of batches: outputs of samples would hang together.

    Raises
    ------
    TrainingError
        If a module normalizes by them.
    """
    for name, module in network.named_modules():
        normalizes = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if normalizes and (module.training or module.running_mean is None):
            remedy = (
                "call network.eval(), so that it uses its running statistics"
                if module.running_mean is not None
                else "it has no running statistics; use another normalization"
            )
            raise TrainingError(
                f"network normalizes by the statistics of each batch in {name!r}: members would "
                f"not be comparable between batches. {remedy[0].upper()}{remedy[1:]}."
            )
