"""Settings of a process that change what a candidate's evaluation gives, or which warnings show."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

__all__ = ["Settings"]

_Filter: TypeAlias = tuple[Any, str, Any, str, int]
"""Action, pattern of the message, category, pattern of the module, line."""


@dataclass(frozen=True)
class Settings:
    """What a worker takes over from the process that it works for.

    Parameters
    ----------
    filters : tuple of tuples
        The filters of warnings, the first that matches counts.
    dtype : torch.dtype
        Torch's default type.
    deterministic, warn_only : bool
        Whether torch insists on deterministic algorithms, or only warns of others.
    precision : str or None
        Precision of float32 products; None leaves it.
    cudnn : tuple of bool
        cuDNN: deterministic, benchmark.
    """

    filters: tuple[_Filter, ...]
    dtype: torch.dtype
    deterministic: bool
    warn_only: bool
    precision: str | None
    cudnn: tuple[bool, bool]

    @classmethod
    def of_this_process(cls) -> Settings:
        """Read the settings."""
        try:
            precision = torch.get_float32_matmul_precision()
        except RuntimeError:  # set by the other of torch's two interfaces
            precision = None
        return cls(
            filters=tuple(
                (action, _pattern(message), category, _pattern(module), line)
                for action, message, category, module, line in warnings.filters
            ),
            dtype=torch.get_default_dtype(),
            deterministic=torch.are_deterministic_algorithms_enabled(),
            warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            precision=precision,
            cudnn=(torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        )

    def apply(self) -> None:
        """Make them this process's own."""
        warnings.resetwarnings()
        for action, message, category, module, line in reversed(self.filters):
            warnings.filterwarnings(action, message, category, module, line)
        torch.set_default_dtype(self.dtype)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)
        if self.precision is not None:
            torch.set_float32_matmul_precision(self.precision)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = self.cudnn


def _pattern(pattern: str | re.Pattern[str] | None) -> str:
    """Return a pattern as text; the interpreter's own filters hold plain names."""
    return "" if pattern is None else pattern if isinstance(pattern, str) else pattern.pattern
