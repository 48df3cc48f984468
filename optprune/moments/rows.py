"""A layer's inputs and outputs as rows: one for every sample and position.

A convolution and a linear layer are the same thing: weights times rows. The rows of a convolution
are the patches under its kernel, with the padding that it sees; those of a linear layer are its
inputs. Everything that is fitted in closed form is fitted on such rows.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

__all__ = ["LayerRows", "row_layers"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Convolution: TypeAlias = nn.Conv1d | nn.Conv2d | nn.Conv3d


@dataclass(frozen=True)
class LayerRows:
    """How the inputs and outputs of one convolution or linear layer become rows.

    Parameters
    ----------
    name : str
        The layer's name in the network.
    module : nn.Linear, nn.Conv1d, nn.Conv2d or nn.Conv3d
        The layer; of a smaller network it has fewer channels.

    Notes
    -----
    A layer with g groups (1 unless a grouped convolution) computes, for each row and group,
    ``outputs[:, g] = inputs[:, g] @ weight[g].T``.
    """

    name: str
    module: nn.Module

    @property
    def groups(self) -> int:
        """Groups of a convolution; 1 for all other layers."""
        return int(getattr(self.module, "groups", 1))

    @property
    def kernel(self) -> int:
        """Positions under the kernel: the columns that one input channel has."""
        return math.prod(getattr(self.module, "kernel_size", (1,)))

    @property
    def weight(self) -> torch.Tensor:
        """The weights, shape ``(groups, outputs a group, columns)``: a view, not a copy."""
        weight = self.module.get_parameter("weight").detach()
        return weight.reshape(self.groups, weight.shape[0] // self.groups, -1)

    def positions(
        self, outputs: torch.Tensor, samples: int, count: int | None, seed: int
    ) -> torch.Tensor | None:
        """Draw the output positions that become rows, for every sample of a split.

        Parameters
        ----------
        outputs : Tensor
            Outputs of any batch, for the number of positions.
        samples : int
            Samples of the whole split.
        count : int or None
            Positions of a sample, drawn without replacement; None for all.
        seed : int
            Together with the layer's name the only source of randomness.

        Returns
        -------
        Tensor of int64 or None
            Shape ``(samples, count)`` on the outputs' device; None stands for all positions.
        """
        available = self._flat(outputs).shape[1]
        if count is None or count >= available:
            return None
        generator = torch.Generator().manual_seed(seed ^ zlib.crc32(self.name.encode()))
        keys = torch.rand(samples, available, generator=generator)
        return keys.topk(count, dim=1).indices.to(outputs.device)

    def outputs(self, outputs: torch.Tensor, positions: torch.Tensor | None) -> torch.Tensor:
        """Return outputs as rows.

        Parameters
        ----------
        outputs : Tensor
            What the layer returned for a batch, or a tensor of that shape.
        positions : Tensor of int64 or None
            Of this batch, shape ``(batch, count)``.

        Returns
        -------
        Tensor
            Shape ``(batch × count, outputs)``.
        """
        flat = self._flat(outputs)
        if positions is not None:
            flat = flat.gather(1, positions[:, :, None].expand(-1, -1, flat.shape[2]))
        return flat.reshape(-1, flat.shape[2])

    def inputs(
        self, inputs: torch.Tensor, outputs_shape: torch.Size, positions: torch.Tensor | None
    ) -> torch.Tensor:
        """Return inputs as rows, the patches of a convolution channel by channel.

        Parameters
        ----------
        inputs : Tensor
            What reached the layer in a batch.
        outputs_shape : torch.Size
            Shape of what the layer returns for it.
        positions : Tensor of int64 or None
            Of this batch, shape ``(batch, count)``.

        Returns
        -------
        Tensor
            Shape ``(batch × count, groups, columns)``; the columns are those of `weight`.
        """
        if not isinstance(self.module, _CONVOLUTIONS):
            return self.outputs(inputs, positions)[:, None]
        padded = _padded(self.module, inputs)
        taken = _under_kernel(self.module, padded.shape[2:], outputs_shape[2:], inputs.device)
        batch, channels, kernel = padded.shape[0], padded.shape[1], taken.shape[1]
        index = taken.expand(batch, -1, -1) if positions is None else taken[positions]
        flat = index.reshape(batch, 1, -1).expand(-1, channels, -1)
        patches = padded.flatten(2).gather(2, flat).view(batch, channels, -1, kernel)
        rows = patches.transpose(1, 2).reshape(-1, channels * kernel)
        return rows.view(rows.shape[0], self.groups, -1)

    def _flat(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return a tensor as (batch, positions, channels)."""
        if isinstance(self.module, _CONVOLUTIONS):
            return outputs.flatten(2).transpose(1, 2)
        return outputs.reshape(outputs.shape[0], -1, outputs.shape[-1])


def row_layers(network: nn.Module) -> tuple[dict[str, LayerRows], dict[str, str]]:
    """Find the layers of a network whose outputs are weights times rows.

    Parameters
    ----------
    network : nn.Module
        Any network.

    Returns
    -------
    layers : dict of str to LayerRows
        Linear layers and convolutions by name, in the order of the network's modules.
    reasons : dict of str to str
        Those that are none although they look like it, with the reason.
    """
    layers: dict[str, LayerRows] = {}
    reasons: dict[str, str] = {}
    plain = {kind.forward for kind in (nn.Linear, *_CONVOLUTIONS)}
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Linear, *_CONVOLUTIONS)):
            continue
        if type(module).forward not in plain or _computes_differently(module):
            reasons[name] = f"{type(module).__name__} computes in its own way"
        elif module._parameters.get("weight") is None:
            reasons[name] = "its weight is not a parameter but computed from others"
        else:
            layers[name] = LayerRows(name, module)
    return layers, reasons


def _computes_differently(module: nn.Module) -> bool:
    """Tell whether a convolution's class replaces what `forward` calls."""
    own = getattr(type(module), "_conv_forward", None)
    return own is not None and own not in {kind._conv_forward for kind in _CONVOLUTIONS}


def _padded(module: Convolution, inputs: torch.Tensor) -> torch.Tensor:
    """Pad inputs as a convolution does."""
    sizes: list[int] = []
    for dim in reversed(range(len(module.kernel_size))):
        if not isinstance(module.padding, str):
            sizes += [module.padding[dim]] * 2
        elif module.padding == "same":
            total = module.dilation[dim] * (module.kernel_size[dim] - 1)
            sizes += [total // 2, total - total // 2]
        else:
            sizes += [0, 0]
    if not any(sizes):
        return inputs
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return nn.functional.pad(inputs, sizes, mode=mode)


def _under_kernel(
    module: Convolution, padded: torch.Size, outputs: torch.Size, device: torch.device
) -> torch.Tensor:
    """Return the flat index of every input position under the kernel.

    Shape ``(output positions, kernel positions)``, into the flattened padded positions.
    """
    index = torch.zeros((1, 1), dtype=torch.int64, device=device)
    for dim, length in enumerate(padded):
        starts = torch.arange(outputs[dim], device=device) * module.stride[dim]
        offsets = torch.arange(module.kernel_size[dim], device=device) * module.dilation[dim]
        along = starts[:, None] + offsets
        both = index[:, None, :, None] * length + along[None, :, None, :]
        index = both.flatten(2).flatten(0, 1)
    return index
