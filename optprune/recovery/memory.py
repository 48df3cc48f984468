"""What the last fit found: where two candidates differ late only, the rest need not be fitted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import nn

from optprune.recovery.layer_fit import FittedLayer, LayerFit, Places

__all__ = ["FitMemory"]


@dataclass
class FitMemory:
    """The last network that was fitted, as it was before, and what was fitted.

    A layer is fitted to what reaches it, and so its fit stays the same as long as nothing in front
    of it changes: neither a tensor, nor which units are kept.
    """

    _before: dict[str, torch.Tensor] = field(default_factory=dict)
    _order: dict[str, int] = field(default_factory=dict)
    _places: Places | None = None
    _fitted: dict[str, tuple[LayerFit, dict[str, torch.Tensor]]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the layers that are remembered."""
        return len(self._fitted)

    def recall(
        self, network: nn.Module, layers: Mapping[str, FittedLayer], places: Places
    ) -> dict[str, LayerFit]:
        """Fit the layers in front of all that differs from the last network, as they were then.

        Parameters
        ----------
        network : nn.Module
            The small network before its fit; the tensors of the layers returned are changed.
        layers : mapping of str to FittedLayer
            Its layers in the order of their calls.
        places : Places
            What it keeps.

        Returns
        -------
        dict of str to LayerFit
            By the layers' names; empty where nothing can be taken over.
        """
        tensors = _tensors(network)
        before, self._before = self._before, {n: t.detach().clone() for n, t in tensors.items()}
        last, self._places = self._places, places
        fitted, self._fitted = self._fitted, {}
        if last is None or before.keys() != tensors.keys():
            return {}
        # a module that no pass called may be read anywhere
        first = min(
            (
                self._order.get(name.rpartition(".")[0], 0)
                for name, tensor in tensors.items()
                if not _equal(before[name], tensor)
            ),
            default=len(self._order),
        )
        recalled: dict[str, LayerFit] = {}
        for name, layer in layers.items():
            same = all(_same(last, places, name, dim) for dim in range(2))
            called = max(self._order.get(n, len(self._order)) for n in _names(network, layer))
            if name not in fitted or not same or called >= first:
                break
            self._fitted[name] = fitted[name]
            recalled[name], changed = fitted[name]
            with torch.no_grad():
                for tensor, value in changed.items():
                    tensors[tensor].copy_(value)
        return recalled

    def remember(self, network: nn.Module, layer: FittedLayer, fit: LayerFit) -> None:
        """Keep what was fitted of a layer."""
        tensors = _tensors(network)
        owners = set(_names(network, layer))
        self._fitted[fit.layer] = (
            fit,
            {n: t.detach().clone() for n, t in tensors.items() if n.rpartition(".")[0] in owners},
        )

    @contextlib.contextmanager
    def ordering(self, network: nn.Module) -> Iterator[None]:
        """Note in which order a forward pass calls the modules."""
        order: dict[str, int] = {}

        def note(name: str) -> None:
            order.setdefault(name, len(order))

        handles = [
            module.register_forward_pre_hook(lambda _, __, name=name: note(name))
            for name, module in network.named_modules()
        ]
        try:
            yield
            self._order = order
        finally:
            for handle in handles:
                handle.remove()


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return all parameters and buffers, also those that are not saved."""
    return dict(chain(network.named_parameters(), network.named_buffers()))


def _names(network: nn.Module, layer: FittedLayer) -> list[str]:
    """Return the names of a layer and of the normalization that takes its intercept."""
    own = (layer.rows.module, layer.norm)
    return [name for name, module in network.named_modules() if any(module is m for m in own)]


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _same(one: Places, other: Places, layer: str, dim: int) -> bool:
    """Tell whether two structures keep the same of a layer."""
    first, second = one.kept(layer, dim), other.kept(layer, dim)
    if first is None or second is None:
        return first is second
    return len(first) == len(second) and bool((first == second).all())
