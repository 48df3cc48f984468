"""What one network of the list is, and how it is brought into a state worth testing."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from optprune.surgery.calling import Inputs, call

Draw = Callable[[torch.Generator, int], Inputs]


def image(*shape: int) -> Draw:
    """Draw normal inputs of one shape."""
    return lambda generator, batch: torch.randn(batch, *shape, generator=generator)


@dataclass(frozen=True)
class Case:
    """A network, what it is called with, and what surgery must find in it.

    A dimension is written ``"tensor"`` (dimension 0) or ``"tensor:dim"``.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Draw = field(default_factory=lambda: image(3, 8, 8))
    prunable: tuple[str, ...] = ()
    """Dimensions all of whose indices belong to prunable groups."""
    partly: tuple[str, ...] = ()
    """Dimensions of which some indices are prunable and some are not."""
    every_layer_but: tuple[str, ...] | None = None
    """If given: all convolutions and linear layers but these have prunable outputs."""
    frozen: Mapping[str, str] = field(default_factory=dict)
    """Dimensions without any prunable index, each with a word of the explanation."""
    coupled: tuple[tuple[str, str], ...] = ()
    """Pairs of dimensions whose indices leave together, one by one."""
    norms: Mapping[str, str] = field(default_factory=dict)
    """Modules that normalise over channels, each with the dimension that numbers its channels."""
    slow: bool = False

    @property
    def norm_over_channels(self) -> bool:
        """Whether removing a channel changes statistics of the others."""
        return bool(self.norms)

    @property
    def n_groups_expected(self) -> int:
        """Lower bound on the number of prunable groups."""
        return bool(self.prunable or self.partly or self.every_layer_but is not None)

    def example(self, batch: int = 2, seed: int = 0) -> Inputs:
        """Draw reproducible inputs."""
        return self.inputs(torch.Generator().manual_seed(seed), batch)

    def network(self, seed: int = 0) -> nn.Module:
        """Build the network with healthy signals and non-trivial statistics, in eval mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(self.name.encode()) + seed)
            network = self.build()
            _enliven(network)
            _calibrate(network, self.example(8, seed=100 + seed))
        return network.eval()

    def __str__(self) -> str:
        return self.name


def _enliven(network: nn.Module) -> None:
    """Redraw constant parameters (ones, zeros, tiny layer scales), so that each of them shows."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if bool((parameter == parameter.reshape(-1)[0]).all()):
                if name.endswith("bias"):
                    parameter.normal_(0, 0.2)
                else:
                    parameter.uniform_(0.5, 1.5)


def _calibrate(network: nn.Module, inputs: Inputs) -> None:
    """Set running statistics by one pass over real signals, then move them away a little."""
    norms = [m for m in network.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        call(network, inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            assert norm.running_mean is not None
            assert norm.running_var is not None
            deviation = norm.running_var.sqrt()
            norm.running_mean += 0.2 * deviation * torch.randn_like(deviation)
            norm.running_var *= torch.empty_like(deviation).uniform_(0.7, 1.4)
            norm.running_var += 1e-3


def tensors(outputs: object) -> list[torch.Tensor]:
    """Return the tensors of whatever a network returned, in order."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if isinstance(outputs, tuple | list):
        return [tensor for item in outputs for tensor in tensors(item)]
    return []
