"""The one list of networks that all of surgery runs."""

from __future__ import annotations

from .branches import BRANCHES
from .case import Case, tensors
from .layers import LAYERS
from .movement import MOVEMENT
from .normalization import NORMALIZATION
from .refused import REFUSED
from .sharing import SHARING
from .zoo import ZOO

SMALL: list[Case] = [*LAYERS, *BRANCHES, *MOVEMENT, *SHARING, *NORMALIZATION, *REFUSED]
ALL: list[Case] = [*SMALL, *ZOO]

__all__ = ["ALL", "SMALL", "ZOO", "Case", "find", "tensors"]


def find(name: str) -> Case:
    """Return the network of a name."""
    return next(case for case in ALL if case.name == name)
