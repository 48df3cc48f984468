"""How chosen parameters of a network lie in one vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, nearest

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the parameters that an ensemble varies, one after another.

    Parameters
    ----------
    names : tuple of str
        As in ``network.named_parameters()``.
    shapes : tuple of tuple of int
        Of each parameter.
    fan_ins : tuple of int
        Of the layer of each parameter: the size of one row of its weight, 1 where it has none of
        two or more dimensions.
    last_layer : str, optional
        Name of the network's last module that has parameters, whether they vary or not; None where
        that is neither a linear layer nor a convolution.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    fan_ins: tuple[int, ...]
    last_layer: str | None = None

    @classmethod
    def of(cls, network: nn.Module, patterns: str | Sequence[str], *, owner: str) -> Layout:
        """Choose parameters by their names.

        Parameters
        ----------
        network : nn.Module
            Any network; a tied parameter counts once, by its first name.
        patterns : str or sequence of str
            Names, or shell patterns such as ``"head.*"``.
        owner : str
            Who asks; for messages.

        Raises
        ------
        ArgumentTypeError
            If a pattern is no string.
        ArgumentError
            If a pattern matches nothing, or only parameters that are no floating-point numbers.
        """
        wanted = (patterns,) if isinstance(patterns, str) else patterns
        if not isinstance(wanted, Sequence):
            raise ArgumentTypeError(
                f"{owner}: `parameters` must be names or patterns, not {patterns!r}."
            )
        known = {
            name: parameter
            for name, parameter in network.named_parameters()
            if parameter.is_floating_point()
        }
        for pattern in wanted:
            if not isinstance(pattern, str):
                raise ArgumentTypeError(
                    f"{owner}: `parameters` must be names or patterns, not {pattern!r}."
                )
            if not any(fnmatchcase(name, pattern) for name in known):
                raise ArgumentError(
                    f"{owner}: `parameters` has {pattern!r}, which matches no parameter of the "
                    f"network.{nearest(pattern, known)} There are {', '.join(known) or 'none'}."
                )
        chosen = {n: p for n, p in known.items() if any(fnmatchcase(n, w) for w in wanted)}
        if not chosen:
            raise ArgumentError(f"{owner}: `parameters` is empty; '*' takes all of them.")
        return cls(
            tuple(chosen),
            tuple(tuple(p.shape) for p in chosen.values()),
            tuple(_fan_in(network, name) for name in chosen),
            _last_layer(network),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of each parameter."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Numbers in all."""
        return sum(self.sizes)

    def slices(self) -> Iterator[tuple[str, tuple[int, ...], slice]]:
        """Give name, shape and place of each parameter."""
        start = 0
        for name, shape, size in zip(self.names, self.shapes, self.sizes, strict=True):
            yield name, shape, slice(start, start + size)
            start += size

    def flat(self, network: nn.Module) -> torch.Tensor:
        """Return the parameters of a network in one vector, copied.

        Returns
        -------
        Tensor of float, shape (n_parameters,)
            Of the widest of the parameters' types.
        """
        values = dict(network.named_parameters())
        return torch.cat([values[name].detach().reshape(-1) for name in self.names])

    @torch.no_grad()
    def write(self, values: torch.Tensor, network: nn.Module) -> None:
        """Copy a vector of shape (n_parameters,) into the parameters of a network."""
        parameters = dict(network.named_parameters())
        for name, shape, place in self.slices():
            parameters[name].copy_(values[place].reshape(shape))

    def unflatten(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return views of a tensor of shape (..., n_parameters), by names."""
        return {
            name: values[..., place].reshape(*values.shape[:-1], *shape)
            for name, shape, place in self.slices()
        }

    def layers(self) -> dict[str, dict[str, tuple[tuple[int, ...], slice]]]:
        """Return shapes and places by the parameters' last names, by the names of the modules."""
        found: dict[str, dict[str, tuple[tuple[int, ...], slice]]] = {}
        for name, shape, place in self.slices():
            module, _, last = name.rpartition(".")
            found.setdefault(module, {})[last] = (shape, place)
        return found

    def scales(self, spread: float | Mapping[str, float], *, owner: str) -> torch.Tensor:
        r"""Return the standard deviation that each parameter is drawn with.

        Parameters
        ----------
        spread : float or mapping of str to float
            In units of a layer's :math:`1 / \sqrt{\text{fan-in}}`; one number for all, or one for
            each name or pattern, of which the last that matches counts.
        owner : str
            Who asks; for messages.

        Returns
        -------
        Tensor of float64, shape (n_parameters,)
            The fan-in of a layer is the size of one row of its weight; it counts for the layer's
            bias too, also where the weight does not vary. Parameters of modules without a weight
            of two or more dimensions, such as normalization, have a fan-in of 1.

        Raises
        ------
        ArgumentTypeError, ArgumentError
            If a spread is not positive, or there is none for a parameter.
        """
        given = {"*": spread} if isinstance(spread, (int, float)) else spread
        if not isinstance(given, Mapping) or not given:
            raise ArgumentTypeError(
                f"{owner}: `spread` must be a number, or numbers by names or patterns of "
                f"parameters, not {spread!r}."
            )
        for pattern, value in given.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ArgumentTypeError(f"{owner}: `spread` must be a number, not {value!r}.")
            if not 0 < value < math.inf:
                raise ArgumentError(
                    f"{owner}: `spread` must be positive, got {value!r}: members that are all "
                    "alike carry no covariance, and would never move."
                )
            if not isinstance(pattern, str):
                raise ArgumentTypeError(
                    f"{owner}: `spread` must have names or patterns as keys, not {pattern!r}."
                )
            if not any(fnmatchcase(name, pattern) for name in self.names):
                raise ArgumentError(
                    f"{owner}: `spread` has {pattern!r}, which matches no parameter that is "
                    f"varied.{nearest(pattern, self.names)}"
                )
        scales = torch.empty(self.size, dtype=torch.float64)
        for (name, _, place), fan_in in zip(self.slices(), self.fan_ins, strict=True):
            matching = [v for pattern, v in given.items() if fnmatchcase(name, pattern)]
            if not matching:
                raise ArgumentError(
                    f"{owner}: `spread` has no number for {name!r}; add '*' for all others."
                )
            scales[place] = matching[-1] * fan_in**-0.5
        return scales


def _fan_in(network: nn.Module, name: str) -> int:
    """Return the size of one row of the weight of the layer that a parameter belongs to."""
    layer = network.get_submodule(name.rpartition(".")[0])
    rows = [math.prod(p.shape[1:]) for p in layer.parameters(recurse=False) if p.dim() > 1]
    return max([1, *rows])


def _last_layer(network: nn.Module) -> str | None:
    """Return the last module with parameters, if each row of its weight makes one output."""
    # With duplicates: where a shared module comes last, its last name is none of the parameters'.
    last: str | None = None
    for name, module in network.named_modules(remove_duplicate=False):
        if next(module.parameters(recurse=False), None) is not None:
            known = isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))
            last = name if known else None
    return last
