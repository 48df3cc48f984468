"""Build and run every network of the list, and compare the list with what torchvision has.

Run ``python -m benchmarks.networks [PATTERN ...]`` from the repository's root. One thread; a
network that does not build, run, or train with its inputs is an error.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import time
import warnings
from collections import Counter

import torch
from torch.utils._pytree import tree_leaves

from . import ENTRIES, Entry, Inputs


def call(network: torch.nn.Module, inputs: Inputs) -> list[torch.Tensor]:
    """Call a network and return its output tensors."""
    if isinstance(inputs, dict):
        outputs = network(**inputs)
    else:
        outputs = network(*inputs) if isinstance(inputs, tuple) else network(inputs)
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def check(entry: Entry, train: bool) -> str:
    """Build a network, run it, and return what to say about it."""
    torch.manual_seed(0)
    start = time.perf_counter()
    network = entry.build().eval()
    built = time.perf_counter()
    with torch.no_grad():
        outputs = call(network, entry.inputs(2))
        ran = time.perf_counter()
        if train:
            call(network.train(), entry.inputs(2))
    if not outputs or not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise ValueError("the outputs are missing or not finite")
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return f"{millions:7.1f} M   build {built - start:5.1f} s   run {ran - built:5.1f} s"


def missing() -> list[str]:
    """Return the networks of the installed torchvision that the list lacks."""
    from torchvision import models

    names = {entry.name for entry in ENTRIES}
    wanted = models.list_models(module=models) + models.list_models(module=models.segmentation)
    return [name for name in wanted if f"torchvision/{name}" not in names]


def main() -> int:
    """Check, print, and return the number of networks with an error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", default=["*"], help="names or patterns of networks")
    parser.add_argument("--no-train", action="store_true", help="leave out training mode")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    errors = 0
    for entry in ENTRIES:
        if not any(fnmatch.fnmatch(entry.name, pattern) for pattern in arguments.patterns):
            continue
        try:
            text = check(entry, not arguments.no_train)
        except Exception as error:  # noqa: BLE001  (a network may raise anything)
            errors += 1
            text = f"{type(error).__name__}: {str(error)[:200]}"
        print(f"{entry.name:45} {'x'.join(map(str, entry.size)):12} {text}", flush=True)
        gc.collect()
    repeated = [name for name, n in Counter(entry.name for entry in ENTRIES).items() if n > 1]
    if absent := missing():
        print("the list lacks", *absent)
    if repeated:
        print("the list repeats", *repeated)
    print(f"{len(ENTRIES)} networks in the list, {errors} errors")
    return errors + len(absent) + len(repeated)


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
