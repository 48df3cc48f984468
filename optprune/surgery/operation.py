"""What a trace is told, and what it notes: operations, tensors in flight, costs, statistics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils._pytree import tree_flatten

from optprune.surgery.labels import Layer, Reason

if TYPE_CHECKING:
    from optprune.surgery.tracing import Recorder

__all__ = ["CostTerm", "LabelledAxis", "Norm", "Operation", "Rule", "Statistic", "Tracked"]


@dataclass(frozen=True)
class LabelledAxis:
    """Labels of one dimension of a parameter, a buffer, or a module's attribute."""

    tensor: str
    dim: int
    labels: npt.NDArray[np.int64]
    attribute: bool = False


@dataclass(frozen=True)
class CostTerm:
    """A cost of one operation: ``scale`` × the product of the kept counts of `factors`.

    MACs have a `family`, one of `optprune.surgery.costs.FAMILIES`.
    """

    kind: str
    scale: float
    factors: tuple[npt.NDArray[np.int64], ...]
    family: str = ""


@dataclass(frozen=True)
class Norm:
    """Statistics over a labelled dimension.

    ``operation`` is the operation with its overload, ``order`` counts its calls in the pass
    (operations of other names may depend on the precision), and ``labels`` broadcasts against the
    tensor whose statistics are taken.
    """

    operation: str
    order: int
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Statistic:
    """A mean or a variance over labelled indices, which is to scale or shift just these.

    Until that is seen (`RMSNorm`, response normalisation and layer norms written by hand), it is
    carried along; used in any other way, it freezes its labels for `reason`.
    """

    labels: npt.NDArray[np.int64]
    reason: Reason


@dataclass
class Tracked:
    """What is known of a tensor in flight."""

    layers: list[Layer] = field(default_factory=list)
    dynamic: bool = False
    writable: bool = False
    statistics: tuple[Statistic, ...] = ()


@dataclass
class Operation:
    """One executed operation, as rules see it.

    Parameters
    ----------
    name : str
        ``"aten.convolution"`` – without the overload.
    function : torch._ops.OpOverload
        The operation itself, to be executed on labels.
    args, kwargs
        What it was called with.
    outputs : list of Tensor
        The tensors that it returned.
    reason : callable
        Makes the `Reason` of this operation with a text.
    """

    name: str
    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: list[torch.Tensor]
    module: str
    line: str

    def reason(self, text: str, *, hidden: bool = False) -> Reason:
        """Make a reason that names this operation and the line of code."""
        return Reason(text, self.name, self.line, hidden)

    def argument(self, name: str, default: Any = None) -> Any:
        """Return an argument by its name in the operation's schema."""
        for index, argument in enumerate(self.function._schema.arguments):
            if argument.name == name:
                if index < len(self.args):
                    return self.args[index]
                if name in self.kwargs:
                    return self.kwargs[name]
                return argument.default_value if argument.has_default_value() else default
        return default

    @property
    def tensors(self) -> list[torch.Tensor]:
        """All tensors among the arguments, in order."""
        leaves = tree_flatten((self.args, self.kwargs))[0]
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


Rule: TypeAlias = "Callable[[Recorder, Operation], None]"
"""How a family of operations hands labels on."""
