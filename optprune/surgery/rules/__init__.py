"""Rules: how the operations of each family hand labels on.

A rule is a function ``rule(recorder, operation)`` registered for the names of the operations that
it serves. Element-by-element operations are recognised by PyTorch's own tag; what no rule serves
freezes the labels that it touches.
"""

from __future__ import annotations

from optprune.surgery.rules.registry import register, rule_for

__all__ = ["register", "rule_for"]
