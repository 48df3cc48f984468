"""The symmetric fit: from moments of the dense network, without a forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from optprune.meter import Meter
from optprune.moments import LayerMoments, Moments, Sample, collect
from optprune.recovery.layer_fit import LayerFit, Places, fitted_layers
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
                lacking = _lacking(known, channels, places.kept(name, 0))
                fits.append(layer.fit(lacking, ridge=ridge, rescale=rescale, exact=1e-11))
    reasons = dense.reasons | reasons
    return [*fits, *(LayerFit(n, fitted=False, reason=reason) for n, reason in reasons.items())]


def _lacking(
    known: LayerMoments,
    channels: npt.NDArray[np.int64],
    outputs: npt.NDArray[np.int64] | None,
) -> Moments:
    """Return the moments of the kept inputs, with what the removed ones contributed as targets."""
    layer, full = known.layer, known.moments
    device = full.mean.device
    kernel = layer.kernel
    columns = torch.from_numpy((channels[:, None] * kernel + np.arange(kernel)).reshape(-1))
    stays = torch.zeros(full.mean.shape[1], dtype=torch.bool)
    stays[columns] = True
    kept, gone = stays.nonzero()[:, 0].to(device), (~stays).nonzero()[:, 0].to(device)
    weight = layer.weight.double()
    if outputs is not None:
        flat = weight.flatten(0, 1)[torch.from_numpy(outputs).to(device)]
        weight = flat.view(layer.groups, -1, weight.shape[2])
    weight = weight.index_select(2, gone)
    between = full.second.index_select(1, gone)
    cross = between.index_select(2, kept).mT @ weight.mT
    own = ((weight @ between.index_select(2, gone)) * weight).sum(2)
    return Moments(
        count=full.count,
        mean=full.mean.index_select(1, kept),
        second=full.second.index_select(1, kept).index_select(2, kept),
        target_mean=(weight @ full.mean.index_select(1, gone)[:, :, None])[:, :, 0],
        cross=cross,
        target_second=own.clamp_min(0),
    )
