"""A layer's outputs are its weights times its rows, whatever the layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optprune.moments import LayerRows, row_layers

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "linear": (nn.Linear(5, 4), (3, 5)),
    "linear on tokens": (nn.Linear(5, 4), (3, 6, 5)),
    "conv1d": (nn.Conv1d(4, 6, 3, stride=2, padding=1), (3, 4, 9)),
    "conv2d": (nn.Conv2d(4, 6, 3), (3, 4, 6, 7)),
    "unlike kernel": (nn.Conv2d(4, 6, (1, 3), (2, 1), (0, 1), (1, 2)), (3, 4, 6, 7)),
    "same": (nn.Conv2d(4, 6, (3, 2), padding="same", dilation=(1, 2), bias=False), (3, 4, 6, 7)),
    "valid": (nn.Conv2d(4, 6, 3, padding="valid"), (3, 4, 6, 7)),
    "circular": (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (3, 4, 6, 7)),
    "reflect": (nn.Conv2d(4, 6, 3, padding=(2, 1), padding_mode="reflect"), (3, 4, 6, 7)),
    "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (3, 4, 6, 7)),
    "depthwise": (nn.Conv2d(4, 8, 3, dilation=2, groups=4), (3, 4, 6, 7)),
    "conv3d": (nn.Conv3d(2, 4, (2, 3, 1), stride=(1, 2, 1), padding=1), (3, 2, 4, 5, 3)),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("count", [None, 2])
def test_outputs_are_weights_times_rows(kind: str, count: int | None) -> None:
    module, shape = LAYERS[kind]
    module = module.double()
    inputs = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = module(inputs)
    layer = LayerRows("layer", module)
    positions = layer.positions(outputs, len(inputs), count, seed=3)
    rows = layer.inputs(inputs, outputs.shape, positions)
    expected = layer.outputs(outputs, positions)
    found = torch.einsum("ngd,god->ngo", rows, layer.weight).flatten(1)
    if module.bias is not None:
        found = found + module.bias.detach()
    assert rows.shape[0] == expected.shape[0]
    torch.testing.assert_close(found, expected)


def test_positions_are_drawn_without_replacement_by_seed_and_name() -> None:
    outputs = torch.zeros(2, 3, 4, 5)
    layer = LayerRows("one", nn.Conv2d(1, 3, 1))
    drawn = layer.positions(outputs, samples=50, count=7, seed=0)
    assert drawn is not None
    assert drawn.shape == (50, 7)
    assert all(len(set(row)) == 7 and max(row) < 20 for row in drawn.tolist())
    again = layer.positions(outputs, samples=50, count=7, seed=0)
    assert again is not None
    assert torch.equal(drawn, again)
    for other in (
        layer.positions(outputs, 50, 7, seed=1),
        LayerRows("two", layer.module).positions(outputs, 50, 7, seed=0),
    ):
        assert other is not None
        assert not torch.equal(drawn, other)


def test_as_many_positions_as_there_are_means_all() -> None:
    layer = LayerRows("layer", nn.Conv2d(1, 3, 1))
    assert layer.positions(torch.zeros(2, 3, 4, 5), samples=2, count=20, seed=0) is None


class Standardized(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


class Scaled(nn.Conv2d):
    def _conv_forward(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        return 2 * super()._conv_forward(x, weight, bias)


def test_layers_that_compute_otherwise_are_told() -> None:
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1),
        Standardized(2, 2, 1),
        Scaled(2, 2, 1),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 1)),
        nn.ConvTranspose2d(2, 2, 1),
    )
    layers, reasons = row_layers(network)
    assert list(layers) == ["0"]
    assert list(reasons) == ["1", "2", "3"]
    assert "Standardized" in reasons["1"]
