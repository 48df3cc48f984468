"""What only a pass in training mode uses."""

from __future__ import annotations

import torch
from torch import nn

from optprune.surgery import trace


class Helped(nn.Module):
    """A head for training only, whose batch-norm sees one position: it needs two samples."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.aux = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.Linear(6, 4))
        self.fails = fails

    def forward(self, x: torch.Tensor) -> object:
        x = torch.relu(self.stem(x)).mean((2, 3))
        if not self.training:
            return self.head(x)
        if self.fails:
            raise RuntimeError("no training here")
        return self.head(x), self.aux(x)


def test_an_example_of_one_sample_suffices_for_what_training_couples() -> None:
    graph = trace(Helped(), torch.randn(1, 3, 6, 6))
    assert {group.name for group in graph.groups} == {"stem", "aux.0"}
    assert ("aux.0.weight", 1) in {(m.tensor, m.dim) for m in graph.group("stem").members}


def test_a_training_pass_that_fails_is_told() -> None:
    network = Helped(fails=True)
    graph = trace(network, torch.randn(1, 3, 6, 6))
    assert [group.name for group in graph.groups] == ["stem"]
    reasons = {group.name: group.reason for group in graph.frozen}
    assert "RuntimeError: no training here" in reasons["aux.0"]
    assert network.training
