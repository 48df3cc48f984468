"""The asymmetric fit: front to back, on what the pruned network itself delivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from optprune.moments import Moments
from optprune.moments.collecting import passing, wide
from optprune.recovery.layer_fit import FLAT, FittedLayer, LayerFit, Places, fitted_layers
from optprune.recovery.memory import FitMemory
from optprune.recovery.protocol import RecoveryContext
from optprune.recovery.response import Response, Visit, visiting
from optprune.recovery.wiring import wiring

__all__ = ["fit_forward"]

MEMORY = 2**31
"""Bytes that the activations of all samples may take together in a single pass."""

_BATCH = 256


class _Reached(Exception):
    """The layer that is fitted has been reached; what follows is of no use."""


class _ForwardFit:
    """Fits one layer after another as a forward pass reaches them."""

    def __init__(
        self,
        layers: Mapping[str, FittedLayer],
        response: Response,
        places: Places,
        dense: nn.Module,
        ridge: float | None,
        rescale: bool,
    ) -> None:
        self.layers = layers
        self.response = response
        self.places = places
        self.translations = {
            name: layer.translation(dense, places.kept(name, 0)) for name, layer in layers.items()
        }
        self.ridge = ridge
        self.rescale = rescale
        self.moments: dict[str, Moments] = {}
        self.fits: dict[str, LayerFit] = {}
        self.start = 0
        self.exact = 0.0

    def look(self, visit: Visit) -> None:
        """Add what reaches a layer, and what its present answer lacks, to its moments."""
        name, rows_of = visit.layer.name, visit.layer
        layer, response = self.layers[name], self.response
        stop = self.start + len(visit.inputs)
        positions = response.positions_of(name, self.start, stop)
        rows = wide(rows_of.inputs(visit.inputs, response.shapes[name], positions))
        weight = rows_of.weight.to(rows.dtype)
        answer = (rows.transpose(0, 1) @ weight.mT).transpose(0, 1) + layer.bias
        target = self._target(visit, positions, stop).to(rows.dtype)
        lacking = target.view(answer.shape) - answer
        self.exact = 1e-11 if rows.dtype == torch.float64 else 1e-5
        if name not in self.moments:
            shape = (rows.shape[1], rows.shape[2], lacking.shape[2])
            self.moments[name] = Moments.empty(*shape, rows.device)
        self.moments[name].add(rows, lacking)

    def settle(self, name: str) -> None:
        """Fit a layer with what was seen of it."""
        self.fits[name] = self.layers[name].fit(
            self.moments.pop(name), ridge=self.ridge, rescale=self.rescale, exact=self.exact
        )

    def _target(self, visit: Visit, positions: torch.Tensor | None, stop: int) -> torch.Tensor:
        """Return what the layer should answer, shape ``(rows, outputs)``."""
        name, response = visit.layer.name, self.response
        part = response.rows_of(name, self.start, stop)
        index = self.places.kept(name, 0)
        kept = slice(None) if index is None else torch.from_numpy(index).to(visit.inputs.device)
        target = response.outputs[name][part][:, kept]
        translation = self.translations[name]
        if translation is not None:
            target = translation[0] * target + translation[1]
        dense = response.shortcuts.get(name)
        if visit.shortcut is None or dense is None:
            return target
        lost = dense[part][:, kept] - visit.layer.outputs(visit.shortcut, positions)
        slope = self.layers[name].norm_slope()
        if slope is not None:
            steep = slope.abs() > FLAT * slope.abs().max()
            lost = torch.where(steep, lost / torch.where(steep, slope, 1.0), 0.0)
        return target + lost


def fit_forward(
    network: nn.Module,
    context: RecoveryContext,
    response: Response,
    memory: FitMemory,
    *,
    ridge: float | None,
    rescale: bool,
    branches: bool,
) -> list[LayerFit]:
    """Fit every layer of a small network to what the dense network answered, front to back.

    Parameters
    ----------
    network : nn.Module
        The small network, changed in place.
    context : RecoveryContext
        Task, graph, structure and meter.
    response : Response
        What the dense network answered.
    memory : FitMemory
        Of the last candidate that was fitted with the same arguments: layers in front of all that
        differs are taken over.
    ridge, rescale, branches
        See `optprune.recovery.LeastSquares`.

    Returns
    -------
    list of LayerFit
        In the order of the layers' calls, then those that were never in question.
    """
    # a module that was replaced makes other calls than the dense one
    with memory.ordering(network):
        own = wiring(context.task, network, context.meter)
    wires = {name: own[name] for name in response.wires if name in own}
    if not branches:
        wires = {name: replace(wire, shortcut=None) for name, wire in wires.items()}
    layers, reasons = fitted_layers(network, wires)
    places = Places(context.graph, context.structure)
    fit = _ForwardFit(layers, response, places, context.task.network, ridge, rescale)
    fit.fits = memory.recall(network, layers, places)
    rows = {name: layer.rows for name, layer in layers.items() if name not in fit.fits}
    split, task = response.split, context.task
    bytes_each = float(context.graph.costs.activation_bytes(context.structure.widths)[0])

    def settle(name: str) -> None:
        fit.settle(name)
        memory.remember(network, layers[name], fit.fits[name])

    def and_settle(visit: Visit) -> None:
        fit.look(visit)
        settle(visit.layer.name)

    def and_leave(visit: Visit) -> None:
        fit.look(visit)
        raise _Reached

    with passing(network, context.meter, keep_buffers=False):
        if bytes_each * len(split) <= MEMORY:
            with visiting(rows, wires, before=and_settle):
                task.outputs(network, split.inputs)
            context.meter.forward(len(split))
        else:
            for name in rows:
                fit.start = 0
                for inputs, _ in split.batches(_BATCH):
                    with visiting({name: rows[name]}, wires, before=and_leave):
                        try:
                            task.outputs(network, inputs)
                        except _Reached:
                            fit.start += _BATCH
                settle(name)
            # layers that are taken over count too: costs do not depend on who was evaluated before
            context.meter.forward(len(split) * len(layers))
    reasons = response.reasons | reasons
    return [
        *fit.fits.values(),
        *(LayerFit(name, fitted=False, reason=reason) for name, reason in reasons.items()),
    ]
