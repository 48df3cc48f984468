"""Operations that only a GPU has, given to the CPU: traced as what they are made of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from optprune.surgery import trace
from optprune.surgery.fused import parts_of
from optprune.testing import removed_versus_zeroed


def lstm_kernel(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    cx: torch.Tensor,
    input_bias: torch.Tensor | None = None,
    hidden_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute it by PyTorch's own cell, whose weights are one and nothing."""
    one, nothing = torch.eye(inputs.shape[1]).to(cx), cx.new_zeros(inputs.shape[1], cx.shape[1])
    state = (torch.zeros_like(cx), cx)
    hy, cy = torch.lstm_cell(inputs + hidden, state, one, nothing, input_bias, hidden_bias)
    return hy, cy, torch.empty_like(inputs)


def gru_kernel(
    inputs: torch.Tensor,
    hidden: torch.Tensor,
    hx: torch.Tensor,
    input_bias: torch.Tensor | None = None,
    hidden_bias: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute it by PyTorch's own cell: the hidden gates are solved for weights that give them."""
    one, weight = torch.eye(inputs.shape[1]).to(hx), (torch.linalg.pinv(hx) @ hidden).T
    hy = torch.gru_cell(inputs, hx, one, weight.contiguous(), input_bias, hidden_bias)
    return hy, torch.empty_like(inputs)


def rms_kernel(
    x: torch.Tensor, shape: list[int], weight: torch.Tensor | None, eps: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide by the root of the mean of squares."""
    dims = list(range(x.dim() - len(shape), x.dim()))
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    length = torch.linalg.vector_norm(x, dim=dims, keepdim=True) / x[0, 0].numel() ** 0.5
    scale = 1 / (length.square() + eps).sqrt()
    return x * scale * (1 if weight is None else weight), scale


@pytest.fixture(scope="module", autouse=True)
def _kernels() -> Iterator[None]:
    """Give the CPU the operations for the time of these tests."""
    with torch.library._scoped_library("aten", "IMPL") as library:
        library.impl("_thnn_fused_lstm_cell", lstm_kernel, "CPU")
        library.impl("_thnn_fused_gru_cell", gru_kernel, "CPU")
        library.impl("_fused_rms_norm", rms_kernel, "CPU")
        yield


class Cells(nn.Module):
    """A recurrent cell, fused or not."""

    def __init__(self, cell: nn.LSTMCell | nn.GRUCell, *, fused: bool) -> None:
        super().__init__()
        self.cell, self.fused = cell, fused
        self.start = nn.Linear(6, 9)
        self.head = nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cell = self.cell
        hy = cy = torch.tanh(self.start(x[:, 0]))
        for step in x.unbind(1):
            if not self.fused:
                state = cell(step, (hy, cy) if isinstance(cell, nn.LSTMCell) else hy)
                hy, cy = state if isinstance(state, tuple) else (state, state)
                continue
            gates = step @ cell.weight_ih.T, hy @ cell.weight_hh.T
            biases = cell.bias_ih, cell.bias_hh
            if isinstance(cell, nn.LSTMCell):
                hy, cy, _ = torch.ops.aten._thnn_fused_lstm_cell(*gates, cy, *biases)
            else:
                hy, _ = torch.ops.aten._thnn_fused_gru_cell(*gates, hy, *biases)
        return self.head(hy)


class Normed(nn.Module):
    """A root-mean-square normalisation, fused or not."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 9), nn.RMSNorm(9, eps=1e-6)
        self.head = nn.Linear(9, 4)
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, norm = self.first(x), self.norm
        if self.fused:
            x, _ = torch.ops.aten._fused_rms_norm(x, norm.normalized_shape, norm.weight, norm.eps)
        else:
            x = x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)
            x = x * norm.weight
        return self.head(torch.relu(x)).mean(1)


def network(kind: str, *, fused: bool) -> nn.Module:
    torch.manual_seed(1)
    if kind == "rms":
        return Normed(fused=fused)
    return Cells(nn.LSTMCell(6, 9) if kind == "lstm" else nn.GRUCell(6, 9), fused=fused)


def example() -> torch.Tensor:
    return torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["single", "bfloat16"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rms"])
def test_a_fused_operation_gives_the_graph_of_its_parts(kind: str, precision: torch.dtype) -> None:
    if kind == "gru" and precision is torch.bfloat16:
        pytest.skip("no pseudo-inverse in bfloat16, by which the kernel of this test computes")
    fused = network(kind, fused=True).eval().to(precision)
    plain = network(kind, fused=False).eval().to(precision)
    x = example().to(precision)
    with torch.no_grad():
        assert torch.allclose(fused(x), plain(x), atol=2 * torch.finfo(precision).eps)
    graph, expected = trace(fused, x), trace(plain, x)
    assert 9 in expected.widths
    assert graph.digest == expected.digest
    assert graph.costs.macs.dense == expected.costs.macs.dense
    assert len(graph.statistics) == len(expected.statistics) == (kind == "rms")
    assert removed_versus_zeroed(fused, x, graph) < 1e-10


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("n_gates", [4, 3])
def test_the_parts_compute_what_the_fused_cell_computes(n_gates: int, biases: bool) -> None:
    inputs, hidden = torch.randn(2, 3, 7 * n_gates, dtype=torch.float64)
    state = torch.randn(3, 7, dtype=torch.float64)
    bias = list(torch.randn(2, 7 * n_gates, dtype=torch.float64)) if biases else []
    cell = torch.ops.aten._thnn_fused_lstm_cell if n_gates == 4 else None
    function = (cell or torch.ops.aten._thnn_fused_gru_cell).default
    parts = parts_of(function)
    assert parts is not None
    expected, found = function(inputs, hidden, state, *bias), parts(inputs, hidden, state, *bias)
    for one, other in zip(expected[:-1], found[:-1], strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_not_fused_has_no_parts() -> None:
    assert parts_of(torch.ops.aten.relu.default) is None
