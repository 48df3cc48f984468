"""Which rule serves which operation."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from optprune.surgery.operation import Operation, Rule
    from optprune.surgery.tracing import Recorder

__all__ = ["register", "rule_for"]

_RULES: dict[str, Rule] = {}
_FAMILIES = (
    "contractions",
    "convolutions",
    "elementwise",
    "movement",
    "normalization",
    "partitions",
    "reductions",
    "windows",
)


def register(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for operations, by their names without overload (``"aten.addmm"``).

    A rule for ``"aten.relu"`` serves the in-place ``"aten.relu_"`` too.
    """

    def decorate(rule: Rule) -> Rule:
        if not rule.__module__.startswith("optprune.surgery.rules."):
            # a rule of the user's own comes after those that it may replace
            _load_families()
        for name in names:
            _RULES[name] = rule
        return rule

    return decorate


@cache
def _load_families() -> None:
    """Import the families, which register their rules."""
    for family in _FAMILIES:
        importlib.import_module(f"optprune.surgery.rules.{family}")


def rule_for(function: Any) -> Rule:
    """Return the rule that serves an operation.

    Parameters
    ----------
    function : torch._ops.OpOverload
        The operation.

    Returns
    -------
    callable
        The registered rule; for an element-by-element operation the common one; otherwise the one
        that freezes.
    """
    _load_families()
    name = str(function).rpartition(".")[0]
    for known in (name, name.removesuffix("_")):
        if known in _RULES:
            return _RULES[known]
    if torch.Tag.pointwise in function.tags:
        return _RULES["elementwise"]
    return unknown


def unknown(recorder: Recorder, operation: Operation) -> None:
    """Freeze what an operation without a rule touches; its results carry no labels."""
    reason = operation.reason("optprune has no rule for this operation")
    for tensor in operation.tensors:
        for layer in recorder.layers(tensor):
            recorder.ledger.freeze(layer, reason)
