"""Fitting one layer: where its weights and its intercept go, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from optprune.errors import RecoveryError
from optprune.moments import LayerRows, Moments, row_layers
from optprune.recovery.refinement import Refinement
from optprune.recovery.solving import solve
from optprune.recovery.wiring import Wire
from optprune.surgery import ChannelGraph, Structure

__all__ = ["FLAT", "FittedLayer", "LayerFit", "Places", "fitted_layers"]

FLAT = 1e-3
"""A normalization flatter than this fraction of its steepest channel passes on no error."""


@dataclass(frozen=True)
class LayerFit:
    """What happened to one layer.

    Parameters
    ----------
    layer : str
        Its name.
    fitted : bool
        Whether its weights were fitted.
    reason : str
        Why not; empty when they were.
    failed : bool
        Whether a fit was tried and fell back.
    before, after : float
        Squared error of its outputs as a fraction of their variance, before and after the linear
        fit, on the rows that it was fitted on; NaN when there was none. Refinements raise it again,
        where the activation behind clips.
    ridge : float
        The ridge, as a fraction of the variance of the inputs; NaN when there was none.
    refined : int
        Refinements made after the linear fit; 0 when no activation that clips takes the outputs, or
        its rows would take too much memory.
    """

    layer: str
    fitted: bool
    reason: str = ""
    failed: bool = False
    before: float = float("nan")
    after: float = float("nan")
    ridge: float = float("nan")
    refined: int = 0


@dataclass(frozen=True)
class FittedLayer:
    """A layer of the small network that can be fitted.

    Parameters
    ----------
    rows : LayerRows
        The layer.
    norm : batch normalization or None
        The batch normalization that takes its outputs, and nothing else does.
    norm_name : str
        Its name; empty where there is none.
    """

    rows: LayerRows
    norm: _NormBase | None
    norm_name: str = ""

    @property
    def has_intercept(self) -> bool:
        """Whether there is a place for a constant."""
        return self.rows.module._parameters.get("bias") is not None or self.norm is not None

    @property
    def bias(self) -> torch.Tensor | float:
        """The layer's present bias, shape ``(groups, outputs a group)``; 0 where it has none."""
        bias = self.rows.module._parameters.get("bias")
        return 0.0 if bias is None else bias.detach().view(self.rows.weight.shape[:2])

    def norm_slope(self) -> torch.Tensor | None:
        """Return the slope of the normalization behind, shape ``(outputs,)``; None without."""
        return None if self.norm is None else _line(self.norm)[0]

    def dense_line(
        self, dense: nn.Module, outputs: npt.NDArray[np.int64] | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Tell what the dense network's normalization makes of the layer's outputs.

        Parameters
        ----------
        dense : nn.Module
            The dense network.
        outputs : ndarray of int or None
            The dense layer's outputs that stay; None for all.

        Returns
        -------
        tuple of Tensor or None
            Slope and offset, each of shape ``(outputs,)``; None without a normalization.
        """
        if self.norm is None:
            return None
        theirs = dense.get_submodule(self.norm_name)
        if not isinstance(theirs, _NormBase):
            return None
        slope, offset = _line(theirs)
        if outputs is None:
            return slope, offset
        index = torch.from_numpy(outputs).to(slope.device)
        return slope.index_select(0, index), offset.index_select(0, index)

    def translation(
        self, dense: nn.Module, outputs: npt.NDArray[np.int64] | None
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Tell what the layer has to return for the dense network's answer behind the norm.

        Parameters
        ----------
        dense : nn.Module
            The dense network.
        outputs : ndarray of int or None
            The dense layer's outputs that stay; None for all.

        Returns
        -------
        tuple of Tensor or None
            Factor and constant, each of shape ``(outputs,)``, that turn what the dense layer
            returns into what this layer has to return: other than 1 and 0 when the normalization
            behind has been changed, by an earlier fit for example. None when it is as it was.
        """
        lines = self.dense_line(dense, outputs)
        if self.norm is None or lines is None:
            return None
        (slope, offset), (own_slope, own_offset) = lines, _line(self.norm)
        if torch.equal(slope, own_slope) and torch.equal(offset, own_offset):
            return None
        steep = own_slope.abs() > FLAT * own_slope.abs().max()
        safe = torch.where(steep, own_slope, 1.0)
        return (
            torch.where(steep, slope / safe, 1.0),
            torch.where(steep, (offset - own_offset) / safe, 0.0),
        )

    def fit(
        self,
        moments: Moments,
        *,
        ridge: float | None,
        rescale: bool,
        exact: float,
        refinement: Refinement | None = None,
        refinements: int = 0,
    ) -> LayerFit:
        """Fit the layer in place.

        Parameters
        ----------
        moments : Moments
            Of what reaches the layer, with what its present answer lacks as targets.
        ridge : float or None
            See `optprune.recovery.solving.solve`.
        rescale : bool
            Whether the outputs get back their variance.
        exact : float
            What may lack, as a fraction of the outputs' standard deviation, without a fit.
        refinement : Refinement, optional
            The rows of the moments with the activation behind, if there is one.
        refinements : int
            How often the fit is refined, at most.
        """
        name, module = self.rows.name, self.rows.module
        weight = self.rows.weight.double()
        second = moments.second / moments.count
        present = ((weight @ second) * weight).sum(2)
        coupled = (weight * (moments.cross / moments.count).mT).sum(2)
        wanted = (present + 2 * coupled + moments.target_second / moments.count).clamp_min(0)
        lacking = moments.target_second / moments.count + moments.target_mean.square()
        variance = float(wanted.sum())
        if float(lacking.sum()) <= exact**2 * max(variance, torch.finfo().tiny):
            return LayerFit(
                name, fitted=False, reason="it answers as it did", before=0.0, after=0.0
            )
        before = float(lacking.sum()) / variance if variance else float("inf")
        try:
            solution, system = solve(moments, ridge=ridge, intercept=self.has_intercept)
        except RecoveryError as error:
            return LayerFit(name, fitted=False, reason=str(error), failed=True, before=before)
        change, shift, refined = solution.weight, solution.shift, 0
        if refinement is not None:
            change, shift, refined = refinement.refine(moments, system, solution, refinements)
        fitted = weight + change
        if rescale:
            has = ((fitted @ second) * fitted).sum(2)
            factor = torch.where(has > 0, (wanted / has.clamp_min(torch.finfo().tiny)).sqrt(), 1.0)
            mean = moments.mean[:, :, None]
            shift = shift + ((1 - factor[:, :, None]) * (fitted @ mean))[:, :, 0]
            fitted = factor[:, :, None] * fitted
        parameter = module.get_parameter("weight")
        with torch.no_grad():
            parameter.copy_(fitted.reshape(parameter.shape))
            if self.has_intercept:
                self._write(shift.reshape(-1))
        return LayerFit(
            name,
            fitted=True,
            before=before,
            after=solution.error / variance if variance else float("inf"),
            ridge=solution.ridge,
            refined=refined,
        )

    def _write(self, shift: torch.Tensor) -> None:
        """Add a constant to the layer's outputs."""
        bias = self.rows.module._parameters.get("bias")
        if bias is not None:
            bias.add_(shift.to(bias.dtype))
        elif self.norm is not None:
            mean = self.norm.get_buffer("running_mean")
            mean.sub_(shift.to(mean.dtype))


def _line(norm: _NormBase) -> tuple[torch.Tensor, torch.Tensor]:
    """Return slope and offset of what a normalization computes, each of shape (channels,)."""
    slope = 1 / torch.sqrt(norm.get_buffer("running_var") + norm.eps)
    weight, bias = norm._parameters.get("weight"), norm._parameters.get("bias")
    slope = slope if weight is None else slope * weight.detach()
    offset = -slope * norm.get_buffer("running_mean")
    return slope, offset if bias is None else offset + bias.detach()


class Places:
    """What stays of each dimension of each tensor."""

    def __init__(self, graph: ChannelGraph, structure: Structure) -> None:
        self._axes = {(axis.tensor, axis.dim): axis for axis in graph.axes}
        for alias, name in graph.aliases:
            for dim in range(2):
                if (name, dim) in self._axes:
                    self._axes[alias, dim] = self._axes[name, dim]
        self._structure = structure

    def kept(self, layer: str, dim: int) -> npt.NDArray[np.int64] | None:
        """Return the indices of a layer's weight that stay along a dimension; None for all."""
        tensor = f"{layer}.weight" if layer else "weight"
        axis = self._axes.get((tensor, dim))
        if axis is None:
            return None
        kept = axis.kept(self._structure)
        return None if len(kept) == axis.size else kept


def fitted_layers(
    network: nn.Module, wires: Mapping[str, Wire]
) -> tuple[dict[str, FittedLayer], dict[str, str]]:
    """Find the layers of a small network that can be fitted.

    Parameters
    ----------
    network : nn.Module
        The small network.
    wires : mapping of str to Wire
        How the dense network's layers are wired.

    Returns
    -------
    layers : dict of str to FittedLayer
        In the order of their calls.
    reasons : dict of str to str
        Layers that cannot, with the reason.
    """
    found, reasons = row_layers(network)
    users = Counter(
        id(parameter)
        for module in network.modules()
        for parameter in module._parameters.values()
        if parameter is not None
    )
    layers = {}
    for name, wire in wires.items():
        if name not in found:
            continue
        rows = found[name]
        if any(users[id(p)] > 1 for p in rows.module._parameters.values() if p is not None):
            reasons[name] = "it shares its weights with another layer"
            continue
        norm = None if wire.norm is None else network.get_submodule(wire.norm)
        if isinstance(norm, _NormBase):
            layers[name] = FittedLayer(rows, norm, wire.norm or "")
        else:
            layers[name] = FittedLayer(rows, None)
    return layers, reasons
