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
from optprune.recovery.refinement import Refinement
from optprune.recovery.response import Response, Visit, visiting
from optprune.recovery.wiring import Wire, wiring

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
        wires: Mapping[str, Wire],
        response: Response,
        places: Places,
        dense: nn.Module,
        ridge: float | None,
        rescale: bool,
        refinements: int,
    ) -> None:
        self.layers = layers
        self.wires = wires
        self.response = response
        self.places = places
        self.lines = {
            name: layer.dense_line(dense, places.kept(name, 0)) for name, layer in layers.items()
        }
        self.translations = {
            name: layer.translation(dense, places.kept(name, 0)) for name, layer in layers.items()
        }
        self.ridge = ridge
        self.rescale = rescale
        self.refinements = refinements
        self.moments: dict[str, Moments] = {}
        self.behind: dict[str, Refinement] = {}
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
        dense = response.outputs[name][response.rows_of(name, self.start, stop)]
        dense = dense[:, self._kept(name)]
        lost = self._lost(visit, positions, stop)
        target = self._target(name, dense, lost).to(rows.dtype)
        lacking = target.view(answer.shape) - answer
        self.exact = 1e-11 if rows.dtype == torch.float64 else 1e-5
        if name not in self.moments:
            shape = (rows.shape[1], rows.shape[2], lacking.shape[2])
            self.moments[name] = Moments.empty(*shape, rows.device)
        self.moments[name].add(rows, lacking)
        reaches, clip = self._refined(visit, rows, dense, stop), self.wires[name].clip
        if reaches is not None and clip is not None:
            behind = self.behind.setdefault(name, Refinement(clip, self._slope(name)))
            behind.add(rows, lacking, reaches.to(rows.dtype).view(lacking.shape))

    def settle(self, name: str) -> None:
        """Fit a layer with what was seen of it."""
        self.fits[name] = self.layers[name].fit(
            self.moments.pop(name),
            ridge=self.ridge,
            rescale=self.rescale,
            exact=self.exact,
            refinement=self.behind.pop(name, None),
            refinements=self.refinements,
        )

    def _kept(self, name: str) -> slice | torch.Tensor:
        """Return which of the dense layer's outputs stay."""
        index = self.places.kept(name, 0)
        device = self.response.outputs[name].device
        return slice(None) if index is None else torch.from_numpy(index).to(device)

    def _target(self, name: str, dense: torch.Tensor, lost: torch.Tensor | None) -> torch.Tensor:
        """Return what the layer should answer, shape ``(rows, outputs)``."""
        target, translation = dense, self.translations[name]
        if translation is not None:
            target = translation[0] * target + translation[1]
        if lost is None:
            return target
        slope = self._slope(name)
        if slope is not None:
            lost = torch.where(slope != 0, lost / torch.where(slope != 0, slope, 1.0), 0.0)
        return target + lost

    def _lost(self, visit: Visit, positions: torch.Tensor | None, stop: int) -> torch.Tensor | None:
        """Return what the shortcut has lost, shape ``(rows, outputs)``; None without one."""
        name, response = visit.layer.name, self.response
        if visit.shortcut is None or name not in response.shortcuts:
            return None
        dense = response.shortcuts[name][response.rows_of(name, self.start, stop)]
        return dense[:, self._kept(name)] - visit.layer.outputs(visit.shortcut, positions)

    def _slope(self, name: str) -> torch.Tensor | None:
        """Return the slope of the normalization behind, 0 where it is flat; None without."""
        slope = self.layers[name].norm_slope()
        if slope is None:
            return None
        return torch.where(slope.abs() > FLAT * slope.abs().max(), slope, 0.0)

    def _refined(
        self, visit: Visit, rows: torch.Tensor, dense: torch.Tensor, stop: int
    ) -> torch.Tensor | None:
        """Return what reaches the activation in the dense network, shape ``(rows, outputs)``.

        None where there is no activation that clips, or the rows take too much memory.
        """
        name, response = visit.layer.name, self.response
        wire, line = self.wires[name], self.lines[name]
        if not self.refinements or wire.clip is None or response.wires[name].clip != wire.clip:
            return None
        if line is not None:
            dense = line[0] * dense + line[1]
        elif self.layers[name].norm is not None:
            return None
        if wire.after_addition:
            if visit.shortcut is None or name not in response.shortcuts:
                return None
            shortcut = response.shortcuts[name][response.rows_of(name, self.start, stop)]
            dense = dense + shortcut[:, self._kept(name)]
        samples = len(response.split)
        fits = Refinement.fits(samples, rows, dense.shape[1], len(visit.inputs))
        return dense if fits else None


def fit_forward(
    network: nn.Module,
    context: RecoveryContext,
    response: Response,
    memory: FitMemory,
    *,
    ridge: float | None,
    rescale: bool,
    branches: bool,
    refinements: int,
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
    ridge, rescale, branches, refinements
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
        wires = {name: _without_shortcut(wire) for name, wire in wires.items()}
    layers, reasons = fitted_layers(network, wires)
    places = Places(context.graph, context.structure)
    # a variance that is put back and answers that need not be met are two different aims
    refinements = 0 if rescale else refinements
    dense = context.task.network
    fit = _ForwardFit(layers, wires, response, places, dense, ridge, rescale, refinements)
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


def _without_shortcut(wire: Wire) -> Wire:
    """Return a wire whose layer answers for itself alone."""
    return replace(wire, shortcut=None, clip=None if wire.after_addition else wire.clip)
