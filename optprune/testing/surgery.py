"""Checks of surgery on a network of one's own, and of a rule for an operation of one's own."""

from __future__ import annotations

from torch import nn

from optprune.surgery import ChannelGraph
from optprune.surgery.calling import Inputs
from optprune.surgery.verification import Verifier

__all__ = ["removed_versus_zeroed"]


def removed_versus_zeroed(
    network: nn.Module, example: Inputs, graph: ChannelGraph, seed: int = 0
) -> float:
    """Remove about half the units of every group, and compare with the network that zeroes them.

    Parameters
    ----------
    network : nn.Module
        The network; it is not changed.
    example : Tensor, tuple of Tensor, or dict of str to Tensor
        What it is called with.
    graph : ChannelGraph
        Its graph.
    seed : int
        Seed of the units that are removed, and of the copy's scales and statistics.

    Returns
    -------
    float
        The largest difference of the outputs in float64, relative to the largest value of each.
        Normalisations over channels take their statistics over the kept channels in both.
    """
    verifier = Verifier(network, example, graph, seed)
    return verifier.compare(verifier.random_structure(range(graph.n_groups)))[0]
