"""Measuring the dependence between the representations of a network's groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from optprune.dependence.dependence_map import DependenceMap
from optprune.dependence.gram import category_gram, linear_gram
from optprune.dependence.hsic import Estimator, center, fewest, hsic_of_stack
from optprune.dependence.reading import read
from optprune.dependence.sources import Place, Source, check_network, consuming, producing
from optprune.dependence.stack import GramStack
from optprune.errors import ArgumentError, TaskError
from optprune.meter import Meter
from optprune.moments import Sample
from optprune.split import Split
from optprune.surgery import ChannelGraph, trace
from optprune.surgery.calling import input_tensors
from optprune.task import Task

__all__ = ["Dependence"]


@dataclass(frozen=True)
class Dependence:
    r"""How much the representations of a network's groups tell of each other, by HSIC.

    Parameters
    ----------
    kernel : {"linear", "gaussian"}
        The linear kernel sees what a linear map can carry over; the Gaussian one, with the median
        distance as its width, any dependence.
    estimator : {"unbiased", "biased"}
        The biased one is the centered kernel alignment of the literature. It nears 1 for any two
        representations, also independent ones, that have more features than there are samples; the
        unbiased one stays around 0 then, and may be below.
    features : {"pooled", "flattened"}
        Means of each channel over its positions: few, and as good as free. Or all channels at all
        positions: sees where something is, costs :math:`2 n^2 d` for a layer of d of them, holds
        256 MiB of features or one layer at a time (and passes the samples again for what does not
        fit), and is where the biased estimator goes wrong.
    samples : int
        Samples, at most.
    seed : int
        Draws the samples.

    Raises
    ------
    ArgumentError
        When an argument has a value that cannot be used.

    Notes
    -----
    The representation of a group is what the linear layers and convolutions that take it in receive
    in its channels; those that a flatten has made of positions are pooled too, where a unit is one
    channel. A group that no such layer takes in, such as the heads of `nn.MultiheadAttention`, is
    what the modules that make it return. Several consumers, or makers, stand side by side, each
    scaled to a linear Gram matrix of trace 1 around the mean, so that none drowns the others; the
    Gaussian kernel is taken of the features so scaled and joined. The calls of a layer that is
    called several times stand side by side as they are.

    A layer's samples are its first dimension, in which one may have several rows; in a sequence
    they may be the second, where the first does not fit.

    The samples come from the train split, where there is one, for only there are labels known to go
    with them; else from the calibration split, and there is no dependence on labels. Inputs and
    targets are taken whole, not pooled: numbers as they are; integers, such as tokens and class
    labels, as one-hot vectors. So the linear kernel of class labels says whether two samples are of
    one class.

    References
    ----------
    .. [1] X. Zheng, Y. Ma, T. Xi, G. Zhang, E. Ding, Y. Li, J. Chen, Y. Tian and R. Ji, An
       information theory-inspired strategy for automatic network pruning, arXiv:2108.08532, 2021
       (biased, linear, flattened). Pooling, the estimator and the weights of consumers are ours.
    """

    kernel: Literal["linear", "gaussian"] = "linear"
    estimator: Estimator = "unbiased"
    features: Literal["pooled", "flattened"] = "pooled"
    samples: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("kernel", ("linear", "gaussian")),
            ("estimator", ("unbiased", "biased")),
            ("features", ("pooled", "flattened")),
        ):
            value = getattr(self, name)
            if value not in known:
                raise ArgumentError(f"{name} must be {known[0]!r} or {known[1]!r}, got {value!r}.")
        for name, least in (("samples", fewest(self.estimator)), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ArgumentError(
                    f"{name} must be an integer of at least {least}, got {value!r}."
                )

    def measure(
        self, task: Task, graph: ChannelGraph | None = None, *, meter: Meter | None = None
    ) -> DependenceMap:
        """Measure how much all groups tell of each other, of the inputs, and of the labels.

        Parameters
        ----------
        task : Task
            Its network, which is left as it was, and its samples.
        graph : ChannelGraph, optional
            Traced from the network; by default that is done here.
        meter : Meter, optional
            Counts the passes over the samples, and the seconds of passes and comparisons.

        Returns
        -------
        DependenceMap
            One row for each group of the graph.

        Raises
        ------
        TaskError
            When there are no samples or fewer than the estimator needs, a value is not finite, it
            cannot be told which sample it belongs to, or a group is seen nowhere.
        GraphMismatchError
            When the graph is not that of the network.

        Notes
        -----
        One forward pass; another for groups that no layer takes in. All m representations are
        compared by one product of cost :math:`m^2 n^2`, in :math:`4 m n^2` bytes.
        """
        meter = Meter() if meter is None else meter
        graph = trace(task.network, task.example) if graph is None else graph
        check_network(task.network, graph)
        split = self._draw(task)
        labels = _labels(task, split)
        count = graph.n_groups + (1 if labels is None else 2)
        stack = GramStack(count, len(split), split.device)
        with meter.timed():
            for number, part in enumerate(input_tensors(split.inputs)):
                stack.add(0, _of_trace_one(_data_gram(part, f"input {number}")))
            if labels is not None:
                stack.add(count - 1, _data_gram(labels, "targets"))
        self._read_groups(task, split, graph, stack, meter)
        with meter.timed():
            if self.kernel == "gaussian":
                stack.to_gaussian()
            values = hsic_of_stack(stack, self.estimator).cpu().numpy()
        return DependenceMap(
            names=tuple(group.name for group in graph.groups),
            hsic=values,
            samples=len(split),
            kernel=self.kernel,
            estimator=self.estimator,
            features=self.features,
        )

    def _draw(self, task: Task) -> Split:
        """Return the samples, with targets where there is a train split."""
        split = task.train
        if split is None:
            split = Sample(max(self.samples, 2), seed=self.seed).of(task)
        elif len(split) > self.samples:
            generator = torch.Generator().manual_seed(self.seed)
            split = split.take(torch.randperm(len(split), generator=generator)[: self.samples])
        if len(split) < fewest(self.estimator):
            raise TaskError(
                f"the {self.estimator} estimator needs {fewest(self.estimator)} samples or more "
                f"and the task has {len(split)}: give more, in Task(train=...) or "
                "Task(calibration=...)."
            )
        return split

    def _read_groups(
        self, task: Task, split: Split, graph: ChannelGraph, stack: GramStack, meter: Meter
    ) -> None:
        """Put the linear Gram matrices of all groups into a stack, from index 1 on."""
        missing = set(range(graph.n_groups))
        pooled = self.features == "pooled"
        gram = stack.rows.new_empty((len(split), len(split)))
        for sources_of in (consuming, producing):
            wanted: dict[Place, list[tuple[int, Source]]] = {}
            for index in sorted(missing):
                for source in sources_of(task.network, graph, graph.groups[index]):
                    wanted.setdefault(source.place, []).append((index, source))
            for place, seen in read(task, split, wanted, pooled=pooled, meter=meter):
                with meter.timed():
                    for index, source in wanted[place]:
                        linear_gram(source.features(seen, pooled=pooled), out=gram)
                        stack.add(1 + index, _of_trace_one(gram))
                        missing.discard(index)
        if missing:
            names = ", ".join(repr(graph.groups[index].name) for index in sorted(missing))
            raise TaskError(
                f"the groups {names} have no representation: no linear layer or convolution that "
                "is called takes them in or makes them. Use layers in place of bare parameters, or "
                f"leave them out: op.trace(network, example, frozen=[{names}])."
            )


def _labels(task: Task, split: Split) -> torch.Tensor | None:
    """Return the targets of samples, where they are classes or numbers."""
    known = task.kind in ("classification", "regression")
    return split.targets if known else None


def _data_gram(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """Return the inner products of one tensor of the data around its mean, integers one-hot."""
    flat = tensor.reshape(len(tensor), -1)
    if not flat.is_floating_point():
        return center(category_gram(flat), "biased")
    if not bool(torch.isfinite(flat).all()):
        raise TaskError(f"the {name} of the samples must be finite: check the task's data.")
    return linear_gram(flat)


def _of_trace_one(gram: torch.Tensor) -> torch.Tensor:
    """Scale the Gram matrix of samples around their mean to trace 1, in place; zeros stay."""
    trace_of = gram.trace()
    return gram.div_(trace_of.where(trace_of > 0, torch.ones_like(trace_of)))
