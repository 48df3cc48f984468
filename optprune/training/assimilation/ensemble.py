"""An ensemble: many versions of the weights of one network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call, vmap

from optprune.errors import ArgumentError, ArgumentTypeError, TrainingError
from optprune.split import Split
from optprune.surgery.calling import Inputs, batch_size, call, evaluating, take
from optprune.training.assimilation.coefficients import check_count
from optprune.training.assimilation.layout import Layout

__all__ = ["Ensemble", "Prediction"]

_BYTES = 1 << 28
"""Memory for the activations of the members that are computed together."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What an ensemble predicts.

    Parameters
    ----------
    members : Tensor of float, shape (n_members, n_samples, ...)
        The outputs of each member.
    """

    members: torch.Tensor

    @property
    def mean(self) -> torch.Tensor:
        """The mean over the members, shape (n_samples, ...)."""
        return self.members.mean(0)

    @property
    def spread(self) -> torch.Tensor:
        """The standard deviation over the members, shape (n_samples, ...)."""
        return self.members.std(0)


class Ensemble:
    """Members that differ in chosen parameters of one network; all else they share.

    Parameters
    ----------
    network : nn.Module
        Gives the architecture, and what is shared: all other parameters and all buffers.
    layout : Layout
        Which parameters vary.
    members : Tensor of float, shape (n_members, n_parameters)
        Their values, on the network's device; held, not copied.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If `members` is no tensor of floats, there are fewer than two, or the shape does not fit.
    """

    def __init__(self, network: nn.Module, layout: Layout, members: torch.Tensor) -> None:
        if not isinstance(members, torch.Tensor) or not members.is_floating_point():
            raise ArgumentTypeError(
                f"Ensemble: `members` must be a tensor of floats, not {members!r}."
            )
        if members.dim() != 2 or members.shape[1] != layout.size:
            raise ArgumentError(
                f"Ensemble: `members` must have shape (n_members, {layout.size}), got "
                f"{tuple(members.shape)}."
            )
        if len(members) < 2:
            raise ArgumentError(
                f"Ensemble: an ensemble has at least two members, got {len(members)}: there is no "
                "covariance in fewer."
            )
        self.network = network
        self.layout = layout
        self.members = members

    @classmethod
    def draw(
        cls,
        network: nn.Module,
        members: int,
        *,
        spread: float | Mapping[str, float] = 0.3,
        parameters: str | Sequence[str] = "*",
        around: Literal["network", "zero"] = "network",
        symmetric: bool = False,
        generator: torch.Generator | None = None,
    ) -> Ensemble:
        r"""Draw members around one network.

        Parameters
        ----------
        network : nn.Module
            Not changed.
        members : int
            How many, at least two.
        spread : float or mapping of str to float, default 0.3
            Standard deviation in units of a layer's :math:`1 / \sqrt{\text{fan-in}}`; by names or
            patterns of parameters where it is a mapping.
        parameters : str or sequence of str, default "*"
            Names or patterns of the parameters that vary; the rest is frozen.
        around : {"network", "zero"}
            The mean of the members.
        symmetric : bool
            Allows a mean of zero of several weights, with hidden units between them. These can be
            exchanged, and have their signs turned, without a change of the outputs; under a
            distribution that is as symmetric, the covariance of every hidden weight with every
            output is zero, and what an ensemble learns is its sampling error. One weight alone,
            such as a last layer, may be drawn around zero in any case.
        generator : torch.Generator, optional
            On the CPU; by default torch's global one.

        Returns
        -------
        Ensemble
            Members whose mean is exact: the deviations are centered.

        Raises
        ------
        ArgumentTypeError, ArgumentError
            If an argument cannot be used, or all that varies has a mean of zero, the bias of the
            outputs aside, there are at least two weights in it, and `symmetric` is False.
        """
        owner = "Ensemble"
        if isinstance(members, bool) or not isinstance(members, int) or members < 2:
            raise ArgumentError(
                f"{owner}: `members` must be a whole number of at least 2, got {members!r}: there "
                "is no covariance in fewer."
            )
        if around not in ("network", "zero"):
            raise ArgumentError(f"{owner}: `around` must be 'network' or 'zero', not {around!r}.")
        layout = Layout.of(network, parameters, owner=owner)
        scales = layout.scales(spread, owner=owner)
        mean = layout.flat(network)
        if around == "zero":
            mean = torch.zeros_like(mean)
        if not symmetric and _is_symmetric(layout, mean):
            raise ArgumentError(
                f"{owner}: a prior around zero is symmetric: hidden units can be exchanged and "
                "have their signs turned, so that no hidden weight has a covariance with any "
                "output, and nothing but sampling errors would be learned. Draw around a network "
                "with random weights, or say symmetric=True."
            )
        return cls(network, layout, mean + deviations(members, scales.to(mean), generator))

    def __len__(self) -> int:
        """Return the number of members."""
        return len(self.members)

    def __repr__(self) -> str:
        """Show members, parameters and device."""
        return (
            f"Ensemble({len(self)} members, {self.layout.size:,} parameters of "
            f"{type(self.network).__name__}, device {self.members.device})"
        )

    @property
    def mean(self) -> torch.Tensor:
        """The mean member, shape (n_parameters,)."""
        return self.members.mean(0)

    @property
    def spread(self) -> float:
        """The root mean square, over the parameters, of the members' standard deviation."""
        return float(self.members.var(0).mean().sqrt())

    def forward(
        self,
        inputs: Inputs,
        *,
        outputs: Callable[[nn.Module, Inputs], torch.Tensor] = call,
        vectorized: bool = True,
        chunk: int | None = None,
    ) -> torch.Tensor:
        """Compute the outputs of all members, in evaluation mode and without gradients.

        Parameters
        ----------
        inputs : Tensor, tuple of Tensor, or dict of str to Tensor
            A batch, on the network's device.
        outputs : callable
            ``outputs(network, inputs)``, the tensor that is wanted; by default what the network
            returns.
        vectorized : bool
            Whether members are computed together, by `torch.func.vmap`: what comes before the
            first parameter that varies is then computed once for all. False goes from member to
            member, for networks that vmap cannot follow.
        chunk : int, optional
            Members that are computed together; by default as many as fit into 256 MiB. Samples
            are divided where those of one member do not.

        Returns
        -------
        Tensor of float, shape (n_members, n_samples, ...)
            Where a member diverged, values that are not finite.

        Raises
        ------
        ArgumentError
            If `chunk` is no positive integer.
        TrainingError
            If vmap cannot follow the network; it says what to do. Errors of the network itself,
            which one member alone raises too, are raised as they are.
        """
        if chunk is not None:
            check_count("chunk", chunk)
        calling = _Calling(self.network, outputs)
        with torch.no_grad(), evaluating(self.network):
            size, together = self._portions(inputs, outputs)
            batches = [batch for batch, _ in Split(inputs).batches(size)]
            if not vectorized:
                weights = [self._weights(each) for each in self.members]
                return torch.stack(
                    [torch.cat([calling.member(w, batch) for batch in batches]) for w in weights]
                )
            computed = vmap(calling.member, in_dims=(0, None), chunk_size=chunk or together)
            weights_of_all = self._weights(self.members)
            try:
                parts = [computed(weights_of_all, batch) for batch in batches]
            except Exception as error:  # noqa: BLE001 - vmap's failures have no type of their own
                failure = error
            else:
                return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
            # Not while the failure is handled: an error of the network itself stands alone.
            first = self._weights(self.members[0])
            for batch in batches:
                calling.member(first, batch)
            raise TrainingError(
                f"The members cannot be computed together ({failure}). Give vectorized=False, "
                "which computes one after another."
            ) from failure

    def predict(
        self,
        inputs: Inputs,
        *,
        outputs: Callable[[nn.Module, Inputs], torch.Tensor] = call,
        vectorized: bool = True,
    ) -> Prediction:
        """Compute the outputs of all members; arguments and errors are those of `forward`.

        Returns
        -------
        Prediction
            With mean and spread.
        """
        return Prediction(self.forward(inputs, outputs=outputs, vectorized=vectorized))

    def mean_network(self) -> nn.Module:
        """Return a copy of the network with the mean of the members as its weights."""
        network = copy.deepcopy(self.network)
        self.layout.write(self.mean, network)
        return network

    def _weights(self, members: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return members of shape (..., n_parameters) by names, each of its parameter's type."""
        own = dict(self.network.named_parameters())
        return {n: w.to(own[n].dtype) for n, w in self.layout.unflatten(members).items()}

    def _portions(
        self, inputs: Inputs, outputs: Callable[[nn.Module, Inputs], torch.Tensor]
    ) -> tuple[int, int]:
        """Return samples in a batch and members together, from the size of the activations.

        What comes before the first layer that varies is there once for all members.
        """
        occupied = shared = 0  # bytes of one sample's activations, and of those before it varies
        varied = False

        def begin(_: nn.Module, __: Any) -> None:
            nonlocal varied, shared
            if not varied:
                varied, shared = True, occupied

        def count(_: nn.Module, __: Any, result: Any) -> None:
            nonlocal occupied
            if isinstance(result, torch.Tensor):
                occupied += result.numel() * result.element_size()

        owners = {name.rpartition(".")[0] for name in self.layout.names}
        hooks = [self.network.get_submodule(o).register_forward_pre_hook(begin) for o in owners]
        leaves = [m for m in self.network.modules() if not any(m.children())]
        hooks += [leaf.register_forward_hook(count) for leaf in leaves]
        try:
            outputs(self.network, take(inputs, slice(0, 1)))
        finally:
            for hook in hooks:
                hook.remove()
        samples = batch_size(inputs)
        size = min(samples, max(1, _BYTES // max(occupied, 1)))
        each = (occupied - shared) * size + self.layout.size * self.members.element_size()
        return size, max(1, min(len(self), _BYTES // each))


def _is_symmetric(layout: Layout, mean: torch.Tensor) -> bool:
    """Say whether hidden units lie between weights of mean zero, with nothing to tell them apart.

    Biases that are not zero do; that of the last layer belongs to no hidden unit. One weight alone
    has no hidden unit on both sides.
    """
    weights = [shape for shape in layout.shapes if len(shape) > 1]
    hidden = [
        mean[place]
        for module, parts in layout.layers().items()
        for shape, place in parts.values()
        if len(shape) > 1 or module != layout.last_layer
    ]
    return len(weights) > 1 and not any(bool(part.any()) for part in hidden)


def deviations(
    members: int, scales: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Draw normal deviations with a mean of exactly zero over the members.

    Parameters
    ----------
    members : int
        How many.
    scales : Tensor of float, shape (n_parameters,)
        Standard deviations; gives device and type.
    generator : torch.Generator, optional
        On the CPU, so that a seed gives the same numbers on every device.

    Returns
    -------
    Tensor, shape (members, n_parameters)
        Centered; their variance with a divisor of n - 1 has the expectation asked for.
    """
    drawn = torch.randn(members, len(scales), generator=generator, dtype=scales.dtype)
    drawn = drawn.to(scales.device)
    drawn -= drawn.mean(0)
    return drawn.mul_(scales)


class _Calling(nn.Module):
    """A network and how its outputs are computed, as one module."""

    def __init__(
        self, network: nn.Module, outputs: Callable[[nn.Module, Inputs], torch.Tensor]
    ) -> None:
        super().__init__()
        self.network = network
        self._outputs = outputs

    def forward(self, inputs: Inputs) -> torch.Tensor:
        return self._outputs(self.network, inputs)

    def member(self, weights: dict[str, torch.Tensor], inputs: Inputs) -> torch.Tensor:
        """Return the outputs with some weights replaced."""
        named = {f"network.{name}": value for name, value in weights.items()}
        found: torch.Tensor = functional_call(self, named, (inputs,))
        return found
