"""The symmetric fit: from moments of the dense network, without a forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.meter import Meter
from optprune.moments import LayerMoments, Moments, Sample, collect
from optprune.recovery.layer_fit import FittedLayer, LayerFit, Places, fitted_layers
from optprune.recovery.protocol import RecoveryContext
from optprune.recovery.wiring import Wire, wiring
from optprune.task import Task

__all__ = ["DenseMoments", "dense_moments", "fit_symmetric"]


@dataclass(frozen=True)
class DenseMoments:
    """The moments of all layers of the dense network.

    Parameters
    ----------
    layers : dict of str to LayerMoments
        In the order of their calls.
    wires : dict of str to Wire
        How the layers are wired.
    reasons : dict of str to str
        Layers that have none, with the reason.
    """

    layers: dict[str, LayerMoments]
    wires: dict[str, Wire]
    reasons: dict[str, str]


def dense_moments(task: Task, sample: Sample, meter: Meter) -> DenseMoments:
    """Take the moments of the dense network's layers in one pass.

    Raises
    ------
    TaskError
        When the task has no calibration split of two samples or more.
    """
    layers, reasons = collect(task, task.network, sample, meter=meter)
    return DenseMoments(layers, wiring(task, task.network, meter), reasons)


def fit_symmetric(
    network: nn.Module,
    context: RecoveryContext,
    dense: DenseMoments,
    *,
    ridge: float | None,
    rescale: bool,
) -> list[LayerFit]:
    """Fit every layer that lost inputs to what the dense network answers on the rest.

    Parameters
    ----------
    network : nn.Module
        The small network, changed in place.
    context : RecoveryContext
        Task, graph and structure.
    dense : DenseMoments
        Moments of the dense network.
    ridge, rescale
        See `optprune.recovery.LeastSquares`.

    Returns
    -------
    list of LayerFit
        In the order of the layers' calls, then those that were never in question.
    """
    layers, reasons = fitted_layers(network, dense.wires)
    places = Places(context.graph, context.structure)
    fits = []
    with context.meter.timed():
        for name, layer in layers.items():
            channels = places.kept(name, 1)
            if name not in dense.layers:
                continue
            known = dense.layers[name]
            if channels is None:
                fits.append(LayerFit(name, fitted=False, reason="it lost no inputs"))
            elif layer.rows.groups != known.layer.groups:
                fits.append(LayerFit(name, fitted=False, reason="it lost groups and inputs"))
            else:
                answers = _answers(known, layer, context.task.network, places.kept(name, 0))
                lacking = _lacking(known, layer, answers, channels)
                fits.append(layer.fit(lacking, ridge=ridge, rescale=rescale, exact=1e-11))
    reasons = dense.reasons | reasons
    return [*fits, *(LayerFit(n, fitted=False, reason=reason) for n, reason in reasons.items())]


def _answers(
    known: LayerMoments,
    layer: FittedLayer,
    dense: nn.Module,
    outputs: npt.NDArray[np.int64] | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a small layer has to compute from all inputs of the dense one.

    Returns
    -------
    weight : Tensor of float64, shape (groups, outputs a group, columns)
    constant : Tensor of float64, shape (groups, outputs a group)
    """
    weight = known.layer.weight.double()
    groups, _, columns = weight.shape
    flat = weight.flatten(0, 1)
    bias = known.layer.module._parameters.get("bias")
    constant = torch.zeros_like(flat[:, 0]) if bias is None else bias.detach().double()
    if outputs is not None:
        index = torch.from_numpy(outputs).to(weight.device)
        flat, constant = flat.index_select(0, index), constant.index_select(0, index)
    translation = layer.translation(dense, outputs)
    if translation is not None:
        factor, shift = (part.double() for part in translation)
        flat, constant = factor[:, None] * flat, factor * constant + shift
    return flat.view(groups, -1, columns), constant.view(groups, -1)


def _lacking(
    known: LayerMoments,
    layer: FittedLayer,
    answers: tuple[torch.Tensor, torch.Tensor],
    channels: npt.NDArray[np.int64],
) -> Moments:
    """Return the moments of the kept inputs, with what the present answer lacks as targets."""
    full, kernel = known.moments, known.layer.kernel
    index = (channels[:, None] * kernel + np.arange(kernel)).reshape(-1)
    columns = torch.from_numpy(index).to(full.mean.device)
    weight = answers[0].clone()
    weight[:, :, columns] -= layer.rows.weight.double()
    between = full.second @ weight.mT
    return Moments(
        count=full.count,
        mean=full.mean.index_select(1, columns),
        second=full.second.index_select(1, columns).index_select(2, columns),
        target_mean=(weight @ full.mean[:, :, None])[:, :, 0] + answers[1] - layer.bias,
        cross=between.index_select(1, columns),
        target_second=(between.mT * weight).sum(2).clamp_min(0),
    )
