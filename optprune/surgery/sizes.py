"""Where the numbers in a network's code come from: `Size`, an int that remembers.

Code that reshapes, splits or slices writes sizes down: `view(b, n, self.num_heads, c // 3)`.
Whether it follows a removal depends on where each number comes from: the shape of a tensor follows
by itself; an attribute of a module can be set; a literal cannot change. So during a trace the ints
that modules hold, and the shapes that tensors report, are `Size`, which is an int in every respect,
and arithmetic on it is remembered. `SizeMode` sees the calls in which such numbers end up, before
PyTorch takes them for plain ones, and notes which dimension each of them must be as long as: a
`SizeUse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from optprune.surgery.labels import Layer, Reason

if TYPE_CHECKING:
    from optprune.surgery.tracing import Recorder

__all__ = [
    "AttributeKey",
    "Combined",
    "Dimension",
    "Expression",
    "Held",
    "Size",
    "SizeUse",
    "keep",
    "remembering",
]

AttributeKey: TypeAlias = tuple[str, str, int]
"""Module, attribute, and position within a tuple or list (0 for a plain int)."""


@dataclass(frozen=True)
class Held:
    """A number that a module holds in an attribute."""

    key: AttributeKey
    value: int


@dataclass(frozen=True, eq=False)
class Dimension:
    """The length of a labelled dimension of a tensor, as the tensor's shape reports it."""

    layer: Layer
    dim: int
    value: int


@dataclass(frozen=True, eq=False)
class Combined:
    """Two numbers, at least one of them remembered, under ``*``, ``//``, ``+`` or ``-``."""

    operator: str
    first: Expression
    second: Expression
    value: int


Expression: TypeAlias = Held | Dimension | Combined | int


class Size(int):
    """An int that remembers where it came from."""

    expression: Expression
    recorder: Recorder | None

    def __new__(cls, value: int, expression: Expression, recorder: Recorder | None = None) -> Size:
        """Make an int with a memory; the recorder is told what the code asks of it."""
        made = super().__new__(cls, value)
        made.expression = expression
        made.recorder = recorder
        return made

    def __eq__(self, other: object) -> bool:
        equal = int(self) == other
        if equal and isinstance(other, Size):
            _note_equal(self, other)
            _note_equal(other, self)
        return bool(equal)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__

    def __lt__(self, other: Any) -> bool:
        keep(self, "<", other > 1)
        return bool(int(self) < other)

    def __le__(self, other: Any) -> bool:
        keep(self, "<=", other > 0)
        return bool(int(self) <= other)

    def __gt__(self, other: Any) -> bool:
        keep(self, ">", other > 0)
        return bool(int(self) > other)

    def __ge__(self, other: Any) -> bool:
        keep(self, ">=", other > 1)
        return bool(int(self) >= other)

    def __mod__(self, other: Any) -> Any:
        if not isinstance(other, Size):
            # by a number that is remembered it is a check of what is tied anyway
            keep(self, "%")
        return int(self) % other

    def __float__(self) -> float:
        keep(self, "float")
        return float(int(self))

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        keep(self, "**")
        return pow(int(self), other, modulus)

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)

    def __deepcopy__(self, memo: Any) -> int:
        return int(self)

    def __mul__(self, other: Any) -> Any:
        return _combine("*", self, other, int.__mul__)

    def __rmul__(self, other: Any) -> Any:
        return _combine("*", other, self, int.__mul__)

    def __floordiv__(self, other: Any) -> Any:
        return _combine("//", self, other, int.__floordiv__)

    def __rfloordiv__(self, other: Any) -> Any:
        return _combine("//", other, self, int.__floordiv__)

    def __add__(self, other: Any) -> Any:
        return _combine("+", self, other, int.__add__)

    def __radd__(self, other: Any) -> Any:
        return _combine("+", other, self, int.__add__)

    def __sub__(self, other: Any) -> Any:
        return _combine("-", self, other, int.__sub__)

    def __rsub__(self, other: Any) -> Any:
        return _combine("-", other, self, int.__sub__)

    def __neg__(self) -> Size:
        value = -int(self)
        return Size(value, Combined("-", 0, self.expression, value), self.recorder)


def _combine(operator: str, first: Any, second: Any, compute: Callable[[int, int], Any]) -> Any:
    """Compute with two ints and remember it; leave all other types to themselves."""
    if not isinstance(first, int) or not isinstance(second, int):
        return NotImplemented
    value = compute(int(first), int(second))
    one, two = expression_of(first), expression_of(second)
    (recorder, *_) = [n.recorder for n in (first, second) if isinstance(n, Size)]
    if operator == "*" and 1 in (one, two):
        return Size(value, two if one == 1 else one, recorder)
    if (operator == "//" and two == 1) or (operator in "+-" and two == 0):
        return Size(value, one, recorder)
    if operator == "+" and one == 0:
        return Size(value, two, recorder)
    return Size(value, Combined(operator, one, two, value), recorder)


def _note_equal(size: Size, other: Size) -> None:
    """The network's code has asked whether a dimension is as long as a number, and it was."""
    own = size.expression
    if isinstance(own, Dimension) and size.recorder is not None and own.value > 1:
        reason = size.recorder.reason("it is compared with a number that cannot follow", "==")
        size.recorder.sizes.append(SizeUse(other.expression, own.layer, own.dim, reason))


def keep(size: Size, operation: str, matters: bool = True) -> None:
    """The network's code computes with the value of a number, which therefore has to stay.

    It does not matter whether a size is above zero: all are.
    """
    if matters and size.recorder is not None and int(size) > 1:
        reason = size.recorder.reason("the network's code computes with its size", operation)
        size.recorder.sizes.append(SizeUse(size.expression, None, 0, reason))


def expression_of(value: int) -> Expression:
    """Return where a number comes from; a plain one is its own expression."""
    return value.expression if isinstance(value, Size) else int(value)


@dataclass(frozen=True, eq=False)
class SizeUse:
    """A number that must be as long as a dimension.

    Parameters
    ----------
    expression : Expression
        Where the number comes from.
    layer : Layer or None
        Labels of the tensor whose dimension it is, compact; None where the dimension has none, so
        that the number must stay what it is.
    dim : int
        The dimension.
    reason : Reason
        The operation that uses the number, with its line.
    """

    expression: Expression
    layer: Layer | None
    dim: int
    reason: Reason


@contextmanager
def remembering(network: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Let the ints that modules hold remember their place, within the ``with`` block."""
    changed: list[tuple[dict[str, Any], str, Any, Any]] = []
    for name, module in network.named_modules():
        if type(module).__module__.startswith("torch.nn.modules.") and not isinstance(
            module, _HOLDING
        ):
            continue
        for attribute, value in list(module.__dict__.items()):
            if attribute.startswith("_") or attribute == "training":
                continue
            tagged = _tag(value, name, attribute, recorder)
            if tagged is not value:
                module.__dict__[attribute] = tagged
                changed.append((module.__dict__, attribute, value, tagged))
    try:
        yield
    finally:
        for attributes, attribute, value, tagged in changed:
            if attributes.get(attribute) is tagged:
                attributes[attribute] = value
        for module in network.modules():
            for attribute, value in list(module.__dict__.items()):
                plain = _plain(value)
                if plain is not value:
                    module.__dict__[attribute] = plain


_HOLDING = (
    nn.RNNBase,
    nn.RNNCellBase,
    nn.Unflatten,
    nn.MultiheadAttention,
    nn.ChannelShuffle,
    nn.Transformer,
)


def _tag(value: Any, module: str, attribute: str, recorder: Recorder) -> Any:
    """Let a number, or the numbers of a tuple or list, remember their place."""
    if type(value) is int and value > 1:
        return Size(value, Held((module, attribute, 0), value), recorder)
    if type(value) in (tuple, list, torch.Size) and any(type(n) is int and n > 1 for n in value):
        return type(value)(
            Size(n, Held((module, attribute, index), n), recorder)
            if type(n) is int and n > 1
            else n
            for index, n in enumerate(value)
        )
    return value


def _plain(value: Any) -> Any:
    """Take the memory off a number, or off those in a tuple or list."""
    if isinstance(value, Size):
        return int(value)
    if type(value) in (tuple, list, torch.Size) and any(isinstance(n, Size) for n in value):
        return type(value)(_plain(n) for n in value)
    if type(value) is dict and any(isinstance(n, Size) for n in value.values()):
        return {key: _plain(item) for key, item in value.items()}
    return value
