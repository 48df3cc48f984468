"""Fused operations of single devices, as the simple operations that they are made of.

On a GPU a network calls operations that it does not call on a CPU: a whole cell of an LSTM, a whole
RMSNorm. They are traced, and compared with, as what they compute, so that a network has one graph
on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

__all__ = ["parts_of"]


@cache
def parts_of(function: Any) -> Callable[..., Any] | None:
    """Return what computes a fused operation by simple ones; None for any other operation.

    Parameters
    ----------
    function : torch._ops.OpOverload
        The operation.

    Returns
    -------
    callable or None
        Takes the operation's arguments and returns its results. The saved gates of a recurrent
        cell, which only its gradient reads, are empty.
    """
    return _PARTS.get(str(function))


def _rms_norm(
    x: torch.Tensor, shape: Sequence[int], weight: torch.Tensor | None, eps: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide by the root mean square over the last dimensions (Zhang and Sennrich, 2019)."""
    dims = list(range(x.dim() - len(shape), x.dim()))
    low = x.dtype in (torch.float16, torch.bfloat16)
    # not Tensor.to: within a dispatch mode that is an operation of its own
    wide = torch.ops.aten._to_copy.default(x, dtype=torch.float32) if low else x
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    scale = torch.rsqrt(torch.mean(torch.pow(wide, 2), dims, keepdim=True) + eps)
    normal = wide * scale
    if low:
        normal = torch.ops.aten._to_copy.default(normal, dtype=x.dtype)
    return normal if weight is None else normal * weight, scale


def _gates(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    input_bias: torch.Tensor | None,
    hidden_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add the biases."""
    return (
        inputs if input_bias is None else inputs + input_bias,
        hidden if hidden_bias is None else hidden + hidden_bias,
    )


def _lstm_cell(
    input_gates: torch.Tensor,
    hidden_gates: torch.Tensor,
    cx: torch.Tensor,
    input_bias: torch.Tensor | None = None,
    hidden_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden and cell state of a long short-term memory (Hochreiter and Schmidhuber, 1997)."""
    inputs, hidden = _gates(input_gates, hidden_gates, input_bias, hidden_bias)
    enter, forget, cell, leave = torch.chunk(inputs + hidden, 4, 1)
    cy = torch.sigmoid(forget) * cx + torch.sigmoid(enter) * torch.tanh(cell)
    return torch.sigmoid(leave) * torch.tanh(cy), cy, cx.new_empty(0)


def _gru_cell(
    input_gates: torch.Tensor,
    hidden_gates: torch.Tensor,
    hx: torch.Tensor,
    input_bias: torch.Tensor | None = None,
    hidden_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden state of a gated recurrent unit (Cho et al., 2014)."""
    inputs, hidden = _gates(input_gates, hidden_gates, input_bias, hidden_bias)
    reset_in, update_in, new_in = torch.chunk(inputs, 3, 1)
    reset_hidden, update_hidden, new_hidden = torch.chunk(hidden, 3, 1)
    reset = torch.sigmoid(reset_in + reset_hidden)
    update = torch.sigmoid(update_in + update_hidden)
    new = torch.tanh(new_in + new_hidden * reset)
    return (hx - new) * update + new, hx.new_empty(0)


_PARTS: dict[str, Callable[..., Any]] = {
    "aten._fused_rms_norm.default": _rms_norm,
    "aten._thnn_fused_lstm_cell.default": _lstm_cell,
    "aten._thnn_fused_gru_cell.default": _gru_cell,
}
