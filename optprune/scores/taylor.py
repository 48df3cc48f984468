"""The Taylor score: units whose removal should change the loss least leave first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.errors import ArgumentError, TaskError
from optprune.moments.collecting import passing
from optprune.scores.labelled import LabelledSample
from optprune.scores.protocol import ScoreContext
from optprune.scores.slices import Part, group_of_units, parameter_axes, parts, slice_sums
from optprune.surgery import Axis, ChannelGraph
from optprune.surgery.calling import batch_size
from optprune.surgery.surroundings import untouched

__all__ = ["Taylor"]

_Floats = npt.NDArray[np.float64]
_SIDES = ("in", "norm", "out")  # from the nearest to what removal does to the farthest


@dataclass(frozen=True)
class Taylor:
    r"""The squared change of the loss, to first order in a gate on every unit.

    Parameters
    ----------
    samples : int
        Labelled samples of the train split, at most.
    batch_size : int
        Samples whose mean gradient is squared. 1 squares each sample's own gradient; the larger,
        the faster and the blinder (see Notes).
    seed : int
        Draws the samples and their order.

    Raises
    ------
    ArgumentError
        When a number is not a positive integer, or the seed is negative.

    Notes
    -----
    Let every unit u have a gate :math:`z_u = 1` that multiplies it wherever it is consumed: zero
    stands for removal. The importance is the mean over mini-batches b (each weighted by its
    samples) of the squared first-order change of the batch's mean loss,

    .. math:: s_u = \frac{1}{\sum_b n_b} \sum_b n_b
              \left(\frac{\partial L_b}{\partial z_u}\right)^2 .

    *The gate without a gate.* A consumer is linear in its weights and in its inputs, so scaling the
    input channel u of layer l is the same as scaling its weights' columns :math:`W_{l,:u}`:

    .. math:: \frac{\partial L}{\partial z_u}
              = \sum_l \sum_{\text{positions}} a_{l,u} \frac{\partial L}{\partial a_{l,u}}
              = \sum_l \left\langle W_{l,:u}, \frac{\partial L}{\partial W_{l,:u}} \right\rangle ,

    over all consumers l of the unit: exact for every network, behind any normalization, activation
    or pooling, with nothing put in place on it. Of a group that no parameter consumes, the scale
    and shift of its normalizations count,
    :math:`\gamma_u \partial L / \partial \gamma_u + \beta_u \partial L / \partial \beta_u`, which
    is the same gate right behind them; of one without these, the producing weights and biases.
    Between a normalization and a consumer that see the same unit through nothing but ReLU and
    linear operations, the two forms agree.

    What this leaves out: a way out of the network's stream that has no parameter (a sum over
    channels) beside others that do; statistics over channels, which are those of the full width; a
    kernel that is itself normalized over its inputs. A weight that is tied across two roles counts
    in the role that the graph gives it. Several normalizations behind one another, or producers
    that are multiplied with each other, count each, where no parameter consumes the unit.

    *Why small batches.* With the mean m and the variance V of the samples' own derivatives, the
    expectation of the squared derivative of a batch of n is :math:`m^2 + V / n`. In a trained
    network m is nearly 0 for all units, whereas V is the diagonal of the Fisher information of the
    gates: for a likelihood, the curvature that decides what removal costs. A small batch measures V
    best; the whole data at once measures :math:`m^2`, which tells least where the network was
    trained best.

    One forward and one backward pass over the samples. Batch normalization uses its running
    statistics.

    References
    ----------
    .. [1] P. Molchanov, A. Mallya, S. Tyree, I. Frosio and J. Kautz, Importance estimation for
       neural network pruning, CVPR 2019, arXiv:1906.10771 (the gate behind batch normalization, and
       the squares of mini-batch gradients; the gate at the consumers is ours).
    """

    higher_is_better: ClassVar[bool] = True

    samples: int = 1024
    batch_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.sample

    @property
    def sample(self) -> LabelledSample:
        """The samples that are looked at."""
        return LabelledSample("train", self.samples, self.batch_size, self.seed)

    def __call__(self, network: nn.Module, graph: ChannelGraph, context: ScoreContext) -> _Floats:
        """Score every unit; see `optprune.scores.Score`.

        Raises
        ------
        ArgumentError
            When there is no task to take labelled samples from, the task has no train split, or a
            group has no floating-point parameter.
        GraphMismatchError
            When the network has not the parameters of the graph.
        TaskError
            When the loss cannot be differentiated, or a gradient is not finite.
        """
        task, split = self.sample.of(context, "Taylor")
        gates = _Gates(network, graph)
        total = np.zeros(graph.n_units)
        if not graph.groups:
            return total
        meter = context.meter
        with (
            torch.inference_mode(False),
            passing(network, meter, keep_buffers=False),
            untouched(network),
            _differentiable(gates.weights),
            _recurrent_gradients(network),
            torch.enable_grad(),
        ):
            for inputs, targets in split.batches(self.batch_size):
                count = batch_size(inputs)
                if targets is None:
                    targets = split.labels
                loss = task.loss(task.outputs(network, inputs), targets)
                meter.forward(count)
                total += count * gates.derivatives(loss) ** 2
                meter.backward(count)
        return total / len(split)


class _Gates:
    """The derivatives of a loss by a gate on every unit, from the gradients of parameters.

    Parameters
    ----------
    network : nn.Module
        A network of the graph's architecture.
    graph : ChannelGraph
        Its groups and units.
    """

    def __init__(self, network: nn.Module, graph: ChannelGraph) -> None:
        self._parameters, axes = parameter_axes(network, graph)
        axes = [axis for axis in axes if self._parameters[axis.tensor].is_floating_point()]
        side = _sides(graph, axes)
        group_of = group_of_units(graph)

        def gated(part: Part) -> npt.NDArray[np.bool_]:
            return np.asarray(side[group_of[part.units]] == part.role, dtype=np.bool_)

        self._axes = [a for a in axes if any(gated(part).any() for part in parts(graph, [a]))]
        chosen = [(part, gated(part)) for part in parts(graph, self._axes)]
        empty = [np.zeros(0, dtype=np.int64)]
        self._units = np.concatenate(empty + [part.units[some] for part, some in chosen])
        self._entries = np.concatenate(empty + [part.entries[some] for part, some in chosen])
        self._n_units = graph.n_units
        self._names = list(dict.fromkeys(axis.tensor for axis in self._axes))

    @property
    def weights(self) -> list[nn.Parameter]:
        """The parameters that are differentiated by."""
        return [self._parameters[name] for name in self._names]

    def derivatives(self, loss: torch.Tensor) -> _Floats:
        """Return the derivative of a loss by every unit's gate, shape ``(n_units,)``."""
        if not loss.requires_grad:
            raise TaskError(
                "The score Taylor needs the gradient of the loss and the loss has none: the "
                "network's forward pass, `pick` or `loss` works without gradients (torch.no_grad, "
                "detach, argmax)."
            )
        found = torch.autograd.grad(loss, self.weights, allow_unused=True, materialize_grads=True)
        gradients = dict(zip(self._names, found, strict=True))
        sums = slice_sums(self._parameters, self._axes, lambda name, w: w * gradients[name])
        derivatives = np.zeros(self._n_units)
        derivatives += np.bincount(self._units, sums[self._entries], minlength=self._n_units)
        if not np.isfinite(derivatives).all():
            raise TaskError(
                "The score Taylor met gradients that are not finite: check the network's weights "
                "and the task's loss and precision."
            )
        return derivatives


def _sides(graph: ChannelGraph, axes: list[Axis]) -> npt.NDArray[np.str_]:
    """Return on which side of every group its gate lies, shape ``(n_groups,)``."""
    group_of = group_of_units(graph)
    side = np.full(graph.n_groups, "", dtype="<U4")
    for role in reversed(_SIDES):
        for part in parts(graph, axes):
            if part.role == role:
                side[group_of[part.units]] = role
    for group in graph.groups:
        if not side[group.index]:
            raise ArgumentError(
                f"group {group.name!r} has no floating-point parameter, and the score Taylor needs "
                "one to differentiate by: score it by another, such as op.scores.Activation()."
            )
    return side


@contextlib.contextmanager
def _differentiable(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let parameters have gradients, frozen ones too, and freeze these again afterwards."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


@contextlib.contextmanager
def _recurrent_gradients(network: nn.Module) -> Iterator[None]:
    """Keep cuDNN out of recurrent layers, which it differentiates in training mode only."""
    with contextlib.ExitStack() as stack:
        if any(isinstance(module, nn.RNNBase) for module in network.modules()):
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        yield
