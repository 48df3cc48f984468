"""The list of networks that surgery must understand.

All networks for classification and segmentation of torchvision, parts of its detectors, networks of
every family of timm, and some written here. Weights are random; nothing is downloaded. A network is
built when `Entry.build` is called, and only then are torchvision, timm and the others imported.

``python -m benchmarks.networks [PATTERN]`` builds and runs every one.
"""

from __future__ import annotations

from .entry import CLASSES, Entry, Inputs
from .own import OWN
from .timm_networks import TIMM
from .torchvision_networks import CLASSIFICATION, DETECTION, SEGMENTATION

__all__ = ["CLASSES", "ENTRIES", "Entry", "Inputs", "find"]

ENTRIES: tuple[Entry, ...] = (*CLASSIFICATION, *SEGMENTATION, *DETECTION, *TIMM, *OWN)


def find(name: str) -> Entry:
    """Return the entry of a name.

    Raises
    ------
    KeyError
        If there is none.
    """
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    raise KeyError(f"the list has no network {name!r}")
