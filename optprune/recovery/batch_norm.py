"""Batch-norm recalibration: running statistics that belong to the small network."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from optprune.errors import ArgumentError, RecoveryError
from optprune.recovery.protocol import RecoveryContext
from optprune.surgery.calling import evaluating, take

__all__ = ["BatchNorm"]


@dataclass(frozen=True)
class BatchNorm:
    r"""Measures the running statistics of normalization layers anew, without gradients.

    After channels have left, what reaches a batch normalization has another mean and variance than
    its running statistics say. They are reset and averaged over a few batches of the calibration
    split. Nothing else changes: no weight, and no other layer is put into training mode, so that
    dropout stays off. A network without running statistics is left alone, at no cost.

    Parameters
    ----------
    samples : int
        Calibration samples to use, at most; where there are more, a random subset.
    batch_size : int
        Samples in a batch, at most; batches are of nearly equal size.

    Raises
    ------
    ArgumentError
        When one of them is not an integer of at least 2.

    Notes
    -----
    The n samples, in an order drawn from the context's seed, are split into
    :math:`B = \lceil n / \text{batch size} \rceil` batches whose sizes differ by at most one. With
    the mean :math:`m_b` and the unbiased variance :math:`v_b` of what reaches a channel in batch b
    (over samples and positions), the running statistics become

    .. math:: \mu = \frac{1}{B} \sum_b m_b, \qquad \sigma^2 = \frac{1}{B} \sum_b v_b,

    the cumulative average (``momentum=None`` in torch). While they are measured, each layer
    normalizes by its own batch. Cost: one forward pass over n samples.

    The layers are torch's batch and instance normalizations with running statistics and their
    subclasses; one that no batch reaches keeps its statistics, and so do layers that hold them
    frozen in plain buffers.

    References
    ----------
    .. [1] B. Li, B. Wu, J. Su and G. Wang, EagleEye: Fast sub-net evaluation for efficient neural
       network pruning, ECCV 2020, arXiv:2007.02491.
    """

    samples: int = 512
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("samples", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 2:
                raise ArgumentError(f"{name} must be an integer of at least 2, got {value!r}.")

    def recover(self, network: nn.Module, context: RecoveryContext) -> None:
        """Measure running statistics anew; see `optprune.recovery.Recovery.recover`.

        Raises
        ------
        RecoveryError
            When the task has no calibration split or one sample only, or a statistic is not
            finite.
        """
        layers = {
            name: module
            for name, module in network.named_modules()
            if isinstance(module, _NormBase) and module.running_mean is not None
        }
        if not layers:
            return
        calibration = context.task.calibration
        if calibration is None or len(calibration) < 2:
            have = "none" if calibration is None else "one sample"
            raise RecoveryError(
                "BatchNorm needs a calibration split of at least two samples and the task has "
                f"{have}: give Task(calibration=...) or Task(train=...)."
            )
        generator = torch.Generator().manual_seed(context.seed)
        order = torch.randperm(len(calibration), generator=generator)[: self.samples]
        n_batches = -(-len(order) // self.batch_size)
        with (
            context.meter.timed(),
            torch.no_grad(),
            evaluating(network),
            _measuring(list(layers.values())),
        ):
            for index in order.to(calibration.device).tensor_split(n_batches):
                context.task.outputs(network, take(calibration.inputs, index))
                context.meter.forward(len(index))
        _check_finite(layers)


class _Average:
    """The cumulative average of one layer's statistics over the batches that reach it."""

    def __init__(self, layer: _NormBase) -> None:
        self.layer = layer
        self.momentum = layer.momentum
        self.before = [buffer.clone() for buffer in layer.buffers(recurse=False)]
        self.calls = 0
        layer.reset_running_stats()
        layer.momentum = None
        layer.training = True
        self.hook = layer.register_forward_pre_hook(self._weigh)

    def _weigh(self, layer: nn.Module, inputs: object) -> None:  # noqa: ARG002 - torch's signature
        # Not momentum=None: instance normalization takes that for "never".
        self.calls += 1
        self.layer.momentum = 1 / self.calls

    def close(self) -> None:
        """Give the layer back its momentum, and its statistics where no batch reached it."""
        self.hook.remove()
        self.layer.momentum = self.momentum
        if not self.calls:
            for buffer, values in zip(self.layer.buffers(recurse=False), self.before, strict=True):
                buffer.copy_(values)


@contextlib.contextmanager
def _measuring(layers: list[_NormBase]) -> Iterator[None]:
    """Reset the layers' statistics and let them average what passes."""
    averages = [_Average(layer) for layer in layers]
    try:
        yield
    finally:
        for average in averages:
            average.close()


def _check_finite(layers: dict[str, _NormBase]) -> None:
    statistics = [
        statistic
        for layer in layers.values()
        for statistic in (layer.running_mean, layer.running_var)
        if statistic is not None
    ]
    # One transfer for all layers.
    finite = torch.stack([torch.isfinite(statistic).all() for statistic in statistics]).tolist()
    if not all(finite):
        name = list(layers)[finite.index(False) // 2]
        raise RecoveryError(f"The running statistics of {name!r} are not finite.")
