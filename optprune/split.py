"""A split of the data, held as tensors on one device, and how one is read from what users have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    default_collate,
)

from optprune.errors import ArgumentError, ArgumentTypeError, TaskError
from optprune.fingerprint import digest, digest_arrays
from optprune.surgery.calling import Inputs, batch_size, input_tensors, map_inputs, take, to_device

__all__ = ["Split", "read_inputs", "read_split"]

_READ_BATCH = 256  # samples read at once from a Dataset


class Split:
    """One split of the data: inputs and targets of the same samples, on one device.

    Parameters
    ----------
    inputs : Tensor, tuple of Tensor, or dict of str to Tensor
        Every tensor's first dimension is the samples.
    targets : Tensor or None
        Shape ``(n_samples, ...)``; None for a split that needs no targets (calibration).

    Raises
    ------
    ArgumentTypeError
        When `inputs` are not tensors with a common first dimension.
    TaskError
        When there is no sample, or another number of targets than of inputs.
    """

    def __init__(self, inputs: Inputs, targets: torch.Tensor | None = None) -> None:
        size = batch_size(inputs)
        if size == 0:
            raise TaskError("A split is empty: it must hold at least one sample.")
        if targets is not None and (targets.dim() == 0 or targets.shape[0] != size):
            raise TaskError(
                f"A split holds {size} inputs and targets of shape {tuple(targets.shape)}: there "
                "must be one target for each input, along the first dimension."
            )
        self.inputs = map_inputs(torch.Tensor.detach, inputs)
        self.targets = targets if targets is None else targets.detach()
        self._size = size

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._size

    def __repr__(self) -> str:
        """Show the number of samples and the shapes of one."""
        shapes = [tuple(tensor.shape[1:]) for tensor in input_tensors(self.inputs)]
        shown = shapes[0] if len(shapes) == 1 else shapes
        return f"Split({self._size} samples, inputs {shown}, device {self.device})"

    @property
    def device(self) -> torch.device:
        """The device that holds the samples."""
        return input_tensors(self.inputs)[0].device

    @property
    def labels(self) -> torch.Tensor:
        """The targets, where a split must have them.

        Raises
        ------
        TaskError
            When the split was made without.
        """
        if self.targets is None:
            raise TaskError("This split has no targets; only calibration may go without.")
        return self.targets

    def to(self, device: torch.device | str) -> Split:
        """Return the split on a device: itself where it is there already."""
        targets = None if self.targets is None else self.targets.to(device)
        inputs = to_device(self.inputs, device)
        same = targets is self.targets and all(
            new is old
            for new, old in zip(input_tensors(inputs), input_tensors(self.inputs), strict=True)
        )
        return self if same else Split(inputs, targets)

    def take(self, index: torch.Tensor | slice) -> Split:
        """Return the samples at `index` as another split."""
        if isinstance(index, torch.Tensor):
            index = index.to(self.device)
        targets = None if self.targets is None else self.targets[index]
        return Split(take(self.inputs, index), targets)

    def batches(
        self, batch_size: int, *, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Inputs, torch.Tensor | None]]:
        """Walk over the samples once.

        Parameters
        ----------
        batch_size : int
            Samples in a batch; the last batch may be smaller.
        generator : torch.Generator, optional
            A generator on the CPU that draws a new order; without one the order is that of the
            data. The order does not depend on the device of the data.

        Yields
        ------
        inputs : Tensor, tuple of Tensor, or dict of str to Tensor
            The batch in the form of the split's inputs; views of them when there is no generator.
        targets : Tensor or None
            The batch's targets.

        Raises
        ------
        ArgumentError
            When `batch_size` is not a positive integer.
        """
        if isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1:
            raise ArgumentError(f"batch_size must be a positive integer, got {batch_size!r}.")
        order = None
        if generator is not None:
            order = torch.randperm(self._size, generator=generator).to(self.device)
        for start in range(0, self._size, batch_size):
            part = slice(start, min(start + batch_size, self._size))
            index = part if order is None else order[part]
            targets = None if self.targets is None else self.targets[index]
            yield take(self.inputs, index), targets

    @property
    def digest(self) -> str:
        """Digest of every input and target byte, 32 hexadecimal digits."""
        if isinstance(self.inputs, dict):
            names = tuple(self.inputs)
        else:
            names = tuple(str(i) for i in range(len(input_tensors(self.inputs))))
        arrays = dict(zip(names, input_tensors(self.inputs), strict=True))
        parts = [type(self.inputs).__name__, digest_arrays(arrays)]
        if self.targets is not None:
            parts.append(digest_arrays({"targets": self.targets}))
        return digest(parts)


def read_split(data: Any, name: str, dtype: torch.dtype, *, evaluation: bool) -> Split:
    """Read a split with targets from arrays, a Dataset or a DataLoader.

    Parameters
    ----------
    data : Split, (inputs, targets), Dataset or DataLoader
        Tensors are taken as they are, arrays become tensors; a Dataset or a finite DataLoader is
        read once, in the order of the data also where the loader would shuffle.
    name : str
        The argument's name, for error messages.
    dtype : torch.dtype
        Type that floating-point numpy arrays are converted to.
    evaluation : bool
        Whether random augmentation is an error.

    Returns
    -------
    Split
        On the device where the data is.

    Raises
    ------
    TaskError
        When the split is empty, endless, randomly augmented although it serves evaluation, or has
        not one target for each input.
    ArgumentTypeError
        When `data` is of another type.
    """
    if isinstance(data, Split):
        inputs, targets = data.inputs, data.targets
    elif isinstance(data, (Dataset, DataLoader)):
        inputs, targets = _read_samples(data, name, dtype, evaluation)
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        inputs = read_inputs(data[0], f"{name}[0]", dtype)
        targets = None if data[1] is None else _tensor(data[1], f"{name}[1]", dtype)
    else:
        raise ArgumentTypeError(
            f"{name} must be (inputs, targets), a Dataset or a finite DataLoader, got "
            f"{type(data).__name__}."
        )
    if targets is None:
        raise TaskError(f"{name} has no targets: give (inputs, targets).")
    return _split(inputs, targets, name)


def read_inputs(data: Any, name: str, dtype: torch.dtype) -> Inputs:
    """Read inputs without targets from tensors, arrays, a Dataset or a DataLoader.

    Parameters
    ----------
    data : Tensor, array, tuple, dict, Split, Dataset or DataLoader
        A tuple holds the network's positional arguments, a dict its keyword arguments. Targets
        that a Split, Dataset or DataLoader brings along are left out.
    name : str
        The argument's name, for error messages.
    dtype : torch.dtype
        Type that floating-point numpy arrays are converted to.

    Returns
    -------
    Tensor, tuple of Tensor, or dict of str to Tensor
        On the device where the data is.

    Raises
    ------
    TaskError
        When a Dataset or DataLoader is empty, endless, or randomly augmented.
    ArgumentTypeError
        When `data` is of another type.
    """
    if isinstance(data, Split):
        return data.inputs
    if isinstance(data, (Dataset, DataLoader)):
        return _read_samples(data, name, dtype, evaluation=True)[0]
    if isinstance(data, Mapping):
        return {str(key): _tensor(value, f"{name}[{key!r}]", dtype) for key, value in data.items()}
    if isinstance(data, tuple):
        return tuple(_tensor(value, f"{name}[{i}]", dtype) for i, value in enumerate(data))
    return _tensor(data, name, dtype)


def _split(inputs: Inputs, targets: torch.Tensor | None, name: str) -> Split:
    try:
        return Split(inputs, targets)
    except (TaskError, ArgumentTypeError) as error:
        raise type(error)(f"{name}: {error}") from error


def _tensor(value: Any, name: str, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, np.ndarray) or (
        isinstance(value, Sequence) and not isinstance(value, str)
    ):
        try:
            tensor = torch.tensor(np.asarray(value))
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(
                f"{name} must hold numbers of one shape, got a {type(value).__name__} that does "
                f"not become a tensor: {error}"
            ) from error
        return tensor.to(dtype) if tensor.is_floating_point() else tensor
    raise ArgumentTypeError(f"{name} must be a tensor or an array, got {type(value).__name__}.")


def _read_samples(
    data: Dataset[Any] | DataLoader[Any], name: str, dtype: torch.dtype, evaluation: bool
) -> tuple[Inputs, torch.Tensor | None]:
    # A loader draws from torch's global generator even when it does not shuffle.
    with torch.random.fork_rng(devices=[]):
        loader = data if isinstance(data, DataLoader) else None
        dataset: Any = loader.dataset if loader is not None else data
        _check_finite(data, dataset, name)
        if evaluation and not isinstance(dataset, IterableDataset):
            _check_repeatable(dataset, name)
        read: list[tuple[Inputs, torch.Tensor | None]] = []
        for batch in _ordered(dataset, loader):
            if isinstance(batch, (tuple, list)) and len(batch) == 2:
                inputs, targets = batch
                read.append((_batch_inputs(inputs, name, dtype), _tensor(targets, name, dtype)))
            else:
                read.append((_batch_inputs(batch, name, dtype), None))
    if not read:
        raise TaskError(f"{name} is empty: it must hold at least one sample.")
    inputs = _concatenate([inputs for inputs, _ in read])
    targets = [target for _, target in read if target is not None]
    return inputs, torch.cat(targets) if targets else None


def _batch_inputs(inputs: Any, name: str, dtype: torch.dtype) -> Inputs:
    if isinstance(inputs, (tuple, list)):
        inputs = inputs[0] if len(inputs) == 1 else tuple(inputs)
    return read_inputs(inputs, name, dtype)


def _check_finite(data: Any, dataset: Any, name: str) -> None:
    try:
        size = len(data)
    except (TypeError, NotImplementedError) as error:
        raise TaskError(
            f"{name} has no length and may be endless ({type(dataset).__name__}): give a dataset "
            "with __len__, or the tensors themselves."
        ) from error
    if size == 0:
        raise TaskError(f"{name} is empty: it must hold at least one sample.")


def _check_repeatable(dataset: Any, name: str) -> None:
    """Read the first samples twice: random augmentation shows as a difference."""
    for index in range(min(8, len(dataset))):
        first, second = (default_collate([dataset[index]]) for _ in range(2))
        if not all(torch.equal(a, b) for a, b in zip(_leaves(first), _leaves(second), strict=True)):
            raise TaskError(
                f"{name} gives another sample {index} each time it is read: evaluation needs data "
                "without random augmentation; give the dataset without its random transforms."
            )


def _leaves(batch: Any) -> list[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        return [batch]
    if isinstance(batch, Mapping):
        return [leaf for value in batch.values() for leaf in _leaves(value)]
    if isinstance(batch, (tuple, list)):
        return [leaf for value in batch for leaf in _leaves(value)]
    return []


def _ordered(dataset: Any, loader: DataLoader[Any] | None) -> Iterator[Any]:
    """Yield collated batches in the order of the data, whatever order a loader would draw."""
    if loader is None:
        if isinstance(dataset, IterableDataset):
            yield from DataLoader(dataset, batch_size=_READ_BATCH)
            return
        indices: Any = range(len(dataset))
        collate: Any = default_collate
    elif loader.batch_sampler is None:  # the dataset makes its own batches
        yield from loader
        return
    elif isinstance(loader.sampler, RandomSampler) and not loader.sampler.replacement:
        indices, collate = range(len(dataset)), loader.collate_fn
    elif isinstance(loader.sampler, SubsetRandomSampler):
        indices, collate = sorted(loader.sampler.indices), loader.collate_fn
    else:
        yield from loader
        return
    for start in range(0, len(indices), _READ_BATCH):
        yield collate([dataset[i] for i in indices[start : start + _READ_BATCH]])


def _concatenate(parts: list[Inputs]) -> Inputs:
    if isinstance(parts[0], dict):
        return {
            key: torch.cat([part[key] for part in parts if isinstance(part, dict)])
            for key in parts[0]
        }
    columns = zip(*(input_tensors(part) for part in parts), strict=True)
    tensors = tuple(torch.cat(column) for column in columns)
    return tensors if isinstance(parts[0], tuple) else tensors[0]
