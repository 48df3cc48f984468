"""A task: a trained network together with its data, its loss and its score."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from optprune.device import floating_type, network_device, resolve_device
from optprune.errors import ArgumentError, ArgumentTypeError, TaskError
from optprune.fingerprint import describe, digest, digest_arrays
from optprune.losses import (
    Loss,
    TaskScore,
    check_labels,
    check_loss,
    default_loss,
    default_score,
    kind_of,
)
from optprune.meter import Meter
from optprune.split import Split, read_inputs, read_split
from optprune.surgery.calling import (
    Inputs,
    batch_size,
    call,
    evaluating,
    input_tensors,
    map_inputs,
    preserving_buffers,
    take,
    to_device,
)

if TYPE_CHECKING:
    from optprune.surgery import Build

__all__ = ["Inputs", "Split", "Task", "TaskScore"]

Precision = Literal["float32", "bfloat16", "float16"]

_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_CALIBRATION_SAMPLES = 512
_CALIBRATION_SEED = 0


class Task:
    """A trained network with its data, its loss and its score.

    The network is used as it is: nothing is put in place on it, and its modes and buffers stay
    what they are. Only when `device` is another device than the network's is a copy made.

    Parameters
    ----------
    network : nn.Module
        The trained network.
    train : (inputs, targets), Dataset or DataLoader, optional
        What recovery and training may learn from. Read once: random augmentation is frozen.
    validation : (inputs, targets), Dataset or DataLoader
        What the search measures candidates on.
    calibration : inputs, optional
        Unlabelled samples for statistics, for example those of batch normalisation; a tuple holds
        the network's positional arguments. Default: a fixed subset of at most 512 samples of
        `train`; None when there is no `train`.
    test : (inputs, targets), Dataset or DataLoader, optional
        Reached by `test_split` only, for the final report.
    example : inputs, optional
        What the network is traced with, on the network's device. Default: the first two samples
        of `validation`.
    loss : callable, optional
        ``loss(outputs, targets)``, a tensor with one number. Default: cross-entropy for labels,
        mean squared error for floating-point targets.
    score : TaskScore, optional
        Default: accuracy for labels, root mean squared error for floating-point targets.
    name : str
        The task's name in tables and files.
    build : Build, optional
        How to make the (untrained) network again; recorded when a smaller one is saved.
    pick : callable, optional
        Takes what the network returns and picks the tensor that loss and score are about;
        needed when the network returns a tuple or a dict.
    device : str or torch.device
        Where network and data are held and everything is computed.
    precision : {"float32", "bfloat16", "float16"}
        ``"float32"`` computes in the type of the network's parameters, the others under autocast.
        ``"float16"`` is meant for evaluation: training does not scale the loss.
    batch_size : int
        Samples in a batch of an evaluation.

    Attributes
    ----------
    kind : {"classification", "regression", "other"}
        Labels ``(n,)`` against outputs ``(n, classes)``; floating-point targets; anything else.
    train, calibration : Split or None
        On `device`.
    validation : Split
        On `device`.

    Raises
    ------
    TaskError
        When network and data do not fit together: an empty split, labels of one class only,
        labels that exceed the outputs, a forward pass that fails on the example or gives values
        that are not finite, an example on another device than the network, outputs that need
        `pick`.
    ArgumentError
        When `precision`, `device` or `batch_size` has a value that cannot be used.
    ArgumentTypeError
        When an argument is of a type that cannot be used.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        train: Any = None,
        validation: Any,
        calibration: Any = None,
        test: Any = None,
        example: Any = None,
        loss: Loss | None = None,
        score: TaskScore | None = None,
        name: str = "task",
        build: Build | None = None,
        pick: Callable[[Any], torch.Tensor] | None = None,
        device: str | torch.device = "cpu",
        precision: Precision = "float32",
        batch_size: int = 256,
    ) -> None:
        self.name = name
        self.build = build
        self.pick = pick
        self.device = resolve_device(device)
        self.precision = _precision(precision)
        self.batch_size = _batch_size(batch_size)
        origin = network_device(network)
        dtype = floating_type(network)

        self.network = network
        if origin is not None and origin != self.device:
            self.network = copy.deepcopy(network).to(self.device)

        def read(data: Any, argument: str, *, evaluation: bool = True) -> Split:
            split = read_split(data, argument, dtype, evaluation=evaluation)
            return split.to(self.device)

        self.validation = read(validation, "validation")
        self.train = None if train is None else read(train, "train", evaluation=False)
        self._test = None if test is None else read(test, "test")
        if example is None:
            self.example = take(self.validation.inputs, slice(0, 2))
        else:
            given = read_inputs(example, "example", dtype)
            self.example = self._place_example(given, origin)
        self.calibration = self._read_calibration(calibration, dtype)
        self._check_forms()

        self._writes_inputs = False
        outputs = self._check_forward()
        targets = self.validation.labels
        self.kind = kind_of(outputs, targets)
        self.loss = default_loss(outputs, targets) if loss is None else loss
        self.score = default_score(outputs, targets) if score is None else score
        if not callable(self.loss):
            raise ArgumentTypeError(
                f"loss must be callable as loss(outputs, targets), got {type(loss).__name__}."
            )
        if not isinstance(self.score, TaskScore):
            raise ArgumentTypeError(
                "score must be a TaskScore(name=..., direction=..., function=...), got "
                f"{type(score).__name__}."
            )
        if self.kind == "classification":
            for argument, split in self._labelled().items():
                check_labels(argument, split.labels, outputs.shape[1])
        check_loss(self.loss, outputs, targets[: len(outputs)])

    def __repr__(self) -> str:
        """Show the task's name, network, kind and the sizes of its splits."""
        splits = self._labelled()
        if self.calibration is not None:
            splits["calibration"] = self.calibration
        sizes = ", ".join(f"{name} {len(split)}" for name, split in splits.items())
        return (
            f"Task({self.name!r}, {type(self.network).__name__}, {self.kind}, "
            f"score {self.score.name}, {sizes}, device {self.device})"
        )

    def test_split(self) -> Split:
        """Return the test split; only a final report may ask for it.

        Raises
        ------
        TaskError
            When the task was made without `test`.
        """
        if self._test is None:
            raise TaskError(f"Task {self.name!r} has no test split: give test=(inputs, targets).")
        return self._test

    def to(self, device: str | torch.device) -> Task:
        """Return the task on a device: itself where it is there already, else a copy."""
        target = resolve_device(device)
        if target == self.device:
            return self
        moved = copy.copy(self)
        moved.device = target
        moved.network = copy.deepcopy(self.network).to(target)
        moved.example = to_device(self.example, target)
        moved.validation = self.validation.to(target)
        moved.train = None if self.train is None else self.train.to(target)
        moved.calibration = None if self.calibration is None else self.calibration.to(target)
        moved._test = None if self._test is None else self._test.to(target)
        return moved

    def outputs(self, network: nn.Module, inputs: Inputs) -> torch.Tensor:
        """Call a network and pick the tensor that loss and score are about.

        Parameters
        ----------
        network : nn.Module
            The task's network or a smaller one, on the task's device, in whatever mode it is.
        inputs : Tensor, tuple of Tensor, or dict of str to Tensor
            A batch on the task's device.

        Returns
        -------
        Tensor
            Shape ``(n_samples, ...)``; at least float32, also when computed in less.

        Raises
        ------
        TaskError
            When what the network returns is no tensor and there is no `pick`, or `pick` does not
            give a tensor.
        """
        if self._writes_inputs:
            inputs = map_inputs(torch.Tensor.clone, inputs)
        dtype = _AUTOCAST[self.precision]
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            result = call(network, inputs)
        result = result if self.pick is None else self.pick(result)
        if not isinstance(result, torch.Tensor):
            who = "pick returned" if self.pick is not None else "The network returns"
            raise TaskError(
                f"{who} a {type(result).__name__}, and loss and score need one tensor: give "
                "pick=, a function that picks it, such as pick=lambda outputs: outputs[0]."
            )
        return result.float() if result.dtype in (torch.float16, torch.bfloat16) else result

    def predict(
        self,
        network: nn.Module,
        split: Split,
        *,
        meter: Meter | None = None,
        batch_size: int | None = None,
    ) -> torch.Tensor:
        """Return a network's outputs for a whole split, in evaluation mode, without gradients.

        Parameters
        ----------
        network : nn.Module
            The task's network or a smaller one; each module's mode is restored.
        split : Split
            On the task's device.
        meter : Meter, optional
            Counts one forward pass over the split and its seconds.
        batch_size : int, optional
            Default: the task's.

        Returns
        -------
        Tensor
            Shape ``(n_samples, ...)``, on the task's device.
        """
        size = self.batch_size if batch_size is None else _batch_size(batch_size)
        meter = Meter() if meter is None else meter
        with contextlib.ExitStack() as stack:
            stack.enter_context(meter.timed())
            stack.enter_context(torch.no_grad())
            stack.enter_context(evaluating(network))
            if network is self.network:
                stack.enter_context(preserving_buffers(network))
            parts = [self.outputs(network, inputs) for inputs, _ in split.batches(size)]
        meter.forward(len(split))
        return torch.cat(parts)

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides what is measured, 32 hexadecimal digits.

        Covers the network's class and state, the train, calibration and validation samples, loss,
        score and `pick` by name and source, precision, and the type of device.
        """
        state = self.network.state_dict()
        splits = (self.train, self.calibration, self.validation)
        return digest(
            (
                describe(type(self.network)),
                digest_arrays({k: v for k, v in state.items() if isinstance(v, torch.Tensor)}),
                describe({k: v for k, v in state.items() if not isinstance(v, torch.Tensor)}),
                *("" if split is None else split.digest for split in splits),
                describe(self.loss),
                describe((self.score.name, self.score.direction, self.score.function)),
                describe(self.pick),
                self.precision,
                self.device.type,
            )
        )

    def _place_example(self, example: Inputs, origin: torch.device | None) -> Inputs:
        for tensor in input_tensors(example):
            if origin is not None and tensor.device not in (origin, self.device):
                raise TaskError(
                    f"example is on {tensor.device} and the network on {origin}: move one of them "
                    f"(example.to({str(origin)!r})), and name the device to compute on by device=."
                )
        return to_device(example, self.device)

    def _read_calibration(self, calibration: Any, dtype: torch.dtype) -> Split | None:
        if calibration is not None:
            inputs = to_device(read_inputs(calibration, "calibration", dtype), self.device)
            if batch_size(inputs) == 0:
                raise TaskError("calibration is empty: it must hold at least one sample.")
            return Split(inputs)
        if self.train is None:
            return None
        generator = torch.Generator().manual_seed(_CALIBRATION_SEED)
        order = torch.randperm(len(self.train), generator=generator)[:_CALIBRATION_SAMPLES]
        return Split(self.train.take(order.sort().values).inputs)

    def _labelled(self) -> dict[str, Split]:
        splits = {"train": self.train, "validation": self.validation, "test": self._test}
        return {name: split for name, split in splits.items() if split is not None}

    def _check_forms(self) -> None:
        expected = _form(self.validation.inputs)
        others = {name: split.inputs for name, split in self._labelled().items()}
        others["example"] = self.example
        if self.calibration is not None:
            others["calibration"] = self.calibration.inputs
        for name, inputs in others.items():
            if _form(inputs) != expected:
                raise TaskError(
                    f"{name} has inputs of the form {_form(inputs)} and validation of the form "
                    f"{expected}: all must call the network in the same way."
                )

    def _check_forward(self) -> torch.Tensor:
        """Return the outputs of the first samples of validation, after trying the example."""
        head = self.validation.take(slice(0, 2))
        self._try("example", self.example)
        return self._try("validation", head.inputs)

    def _try(self, name: str, inputs: Inputs) -> torch.Tensor:
        shapes = [tuple(tensor.shape) for tensor in input_tensors(inputs)]
        # A network that works in place on its inputs would spoil the data, batch by batch.
        inputs = map_inputs(torch.Tensor.clone, inputs)
        versions = [tensor._version for tensor in input_tensors(inputs)]
        try:
            with torch.no_grad(), evaluating(self.network), preserving_buffers(self.network):
                outputs = self.outputs(self.network, inputs)
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(
                f"The network's forward pass fails on inputs from {name} of shape {shapes}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if versions != [tensor._version for tensor in input_tensors(inputs)]:
            self._writes_inputs = True
        if outputs.dim() == 0 or outputs.shape[0] != batch_size(inputs):
            raise TaskError(
                f"The network's outputs on {name} have shape {tuple(outputs.shape)} for "
                f"{batch_size(inputs)} samples: the first dimension must be the samples; give "
                "pick= when the network returns several things."
            )
        if not bool(torch.isfinite(outputs).all()):
            raise TaskError(
                f"The network's outputs on {name} are not finite: check its weights and whether "
                f"precision={self.precision!r} suffices."
            )
        return outputs


def _form(inputs: Inputs) -> str:
    if isinstance(inputs, dict):
        return f"dict of {sorted(inputs)}"
    return f"tuple of {len(inputs)}" if isinstance(inputs, tuple) else "tensor"


def _precision(precision: str) -> str:
    if precision not in _AUTOCAST:
        raise ArgumentError(f"precision must be one of {sorted(_AUTOCAST)}, got {precision!r}.")
    return precision


def _batch_size(size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ArgumentError(f"batch_size must be a positive integer, got {size!r}.")
    return size
