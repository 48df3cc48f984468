"""What every measurement imports, imported once in the server that they are forked from.

Importing takes longer than most networks do; none of it counts as measured time.
"""

from __future__ import annotations

import contextlib
import importlib

__all__ = ["MODULES"]

MODULES = (
    "torchvision",
    "timm",
    "torch_pruning",
    "torch.export",
    "torch.onnx",
    "torch.utils.flop_counter",
    "onnxscript",
    "onnxruntime",
    "optprune.surgery",
    "optprune.surgery.rules.contractions",
    "optprune.surgery.trace",
    "optprune.testing",
    "networks.with_optprune",
    "networks.with_torch_pruning",
)

for module in MODULES:
    with contextlib.suppress(ImportError):
        importlib.import_module(module)
