r"""Regression: a small feed-forward network that follows a function of one number.

Two functions, the test cases of training by data assimilation: a sine, :math:`\sin(\pi x)` on
[-1, 1], and the Mexican hat (Ricker wavelet), :math:`(1 - x^2) e^{-x^2/2}` on [-4, 4]. The network
sees x as it is. Weights of a 1-20-1 network come with the package for either function; they were
made by ``python -m optprune.problems.train_regression``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from optprune.problems.shipped import make_problem
from optprune.problems.shipped import trained as with_weights
from torch import nn

from optprune.errors import ArgumentError, ArgumentTypeError, nearest
from optprune.formulation import Problem, Widths, metrics
from optprune.recovery import LeastSquares
from optprune.split import Split
from optprune.surgery import Build
from optprune.task import Task

__all__ = [
    "ACTIVATIONS",
    "FUNCTIONS",
    "Function",
    "network",
    "problem",
    "splits",
    "task",
    "true_function",
]

Choice = TypeVar("Choice")

Array: TypeAlias = npt.NDArray[np.float64]
FunctionName: TypeAlias = Literal["sine", "mexican_hat"]
Activation: TypeAlias = Literal["tanh", "sigmoid", "relu", "gelu", "silu"]


@dataclass(frozen=True)
class Function:
    """A function of one number, and where it is looked at.

    Parameters
    ----------
    name : str
        Its name.
    formula : str
        How it is computed, as text.
    interval : (float, float)
        The least and the largest x.
    values : callable
        Takes an array of float64, returns one of the same shape.
    """

    name: str
    formula: str
    interval: tuple[float, float]
    values: Callable[[Array], Array]

    def __call__(self, x: npt.ArrayLike) -> Array:
        """Return the function's values at x, any shape, as float64."""
        return self.values(np.asarray(x, dtype=np.float64))


def _sine(x: Array) -> Array:
    y: Array = np.sin(np.pi * x)
    return y


def _mexican_hat(x: Array) -> Array:
    y: Array = (1 - x**2) * np.exp(-(x**2) / 2)
    return y


FUNCTIONS: Mapping[str, Function] = {
    "sine": Function("sine", "sin(πx)", (-1.0, 1.0), _sine),
    "mexican_hat": Function("mexican_hat", "(1 - x²) exp(-x²/2)", (-4.0, 4.0), _mexican_hat),
}
"""The functions by name."""

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
"""The activations by name."""

HIDDEN = (20,)
ACTIVATION: Activation = "tanh"
WEIGHTS = {
    name: Path(__file__).parent / "weights" / f"regression_{name}.safetensors" for name in FUNCTIONS
}

_TEST = 400


def true_function(name: FunctionName) -> Function:
    """Return a function, to be called on arrays.

    Parameters
    ----------
    name : {"sine", "mexican_hat"}
        Which: sin(πx) on [-1, 1], or (1 - x²) exp(-x²/2) on [-4, 4].

    Returns
    -------
    Function
        Called with x it gives y, both without noise; `Function.interval` says where it is looked
        at.

    Raises
    ------
    ArgumentError
        When there is no such function.
    """
    return _chosen("function", name, FUNCTIONS)


def splits(
    function: FunctionName = "sine", *, noise: float = 0.0, samples: int = 100, seed: int = 0
) -> dict[str, Split]:
    """Return the splits ``train``, ``validation`` and ``test``, on the CPU.

    Parameters
    ----------
    function : {"sine", "mexican_hat"}
        Which function.
    noise : float, default 0.0
        Standard deviation of the Gaussian noise on the targets of train and validation.
    samples : int, default 100
        Samples of train, at least 3.
    seed : int, default 0
        Draws the noise, and nothing else.

    Returns
    -------
    dict of str to Split
        Inputs and targets of shape ``(n, 1)``, float32. Train is spaced evenly over the interval,
        ends included; validation holds the `samples` - 1 points half way between; test 400 points,
        spaced evenly without the ends and never noisy. No point is in two splits.

    Raises
    ------
    ArgumentError
        When there is no such function, a number cannot be used, or `samples` puts a point of one
        split on one of another.
    ArgumentTypeError
        When a number is of another type.
    """
    chosen = true_function(function)
    _check_whole("samples", samples, 3)
    _check_whole("seed", seed, 0)
    if isinstance(noise, bool) or not isinstance(noise, int | float):
        raise ArgumentTypeError(f"noise must be a number, got {type(noise).__name__} {noise!r}.")
    if not 0 <= noise < math.inf:
        raise ArgumentError(
            f"noise must be a standard deviation, a finite number of at least 0, got {noise!r}."
        )
    places = np.linspace(*chosen.interval, samples)
    # 401 is prime: a grid of 400 inner points meets one of `samples` only if samples - 1 is one of
    # its multiples.
    x = {
        "train": places,
        "validation": (places[1:] + places[:-1]) / 2,
        "test": np.linspace(*chosen.interval, _TEST + 2)[1:-1],
    }
    inputs = {name: part.astype(np.float32) for name, part in x.items()}
    known = np.concatenate(list(inputs.values()))
    if len(np.unique(known)) < len(known):
        raise ArgumentError(
            f"samples={samples} puts points of one split on points of another: take "
            f"samples={samples - 1}."
            if (samples - 1) % (_TEST + 1) == 0
            else f"samples={samples} points cannot be told apart in float32: take fewer."
        )
    made = {}
    for index, (name, part) in enumerate(inputs.items()):
        y = chosen(part)
        if name != "test":
            y += noise * np.random.default_rng((seed, index)).standard_normal(len(part))
        made[name] = Split(
            torch.tensor(part[:, None]), torch.tensor(y[:, None], dtype=torch.float32)
        )
    return made


def network(
    hidden: Sequence[int] = HIDDEN, activation: Activation = ACTIVATION, seed: int = 0
) -> nn.Sequential:
    """Return a feed-forward network of one input and one output, with fresh weights.

    Parameters
    ----------
    hidden : sequence of int, default (20,)
        Widths of the hidden layers.
    activation : {"tanh", "sigmoid", "relu", "gelu", "silu"}
        What stands behind each hidden layer.
    seed : int, default 0
        Draws the weights; torch's global generator is not used.

    Returns
    -------
    nn.Sequential
        In evaluation mode, on the CPU. Weights and biases are uniform within 1 / √(inputs of the
        layer), as torch itself draws them.

    Raises
    ------
    ArgumentError
        When there is no such activation, no hidden layer, or a number cannot be used.
    ArgumentTypeError
        When `hidden` is no sequence of int, or `seed` no int.
    """
    made = _network(hidden, activation)
    _check_whole("seed", seed, 0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in made:
            if isinstance(layer, nn.Linear):
                bound = 1 / math.sqrt(layer.in_features)
                for parameter in layer.parameters():
                    parameter.uniform_(-bound, bound, generator=generator)
    return made.eval()


def _network(hidden: Sequence[int], activation: str) -> nn.Sequential:
    """Return the network with weights that nobody has set yet."""
    if not isinstance(hidden, Sequence):
        raise ArgumentTypeError(
            f"hidden must be a sequence with the width of each hidden layer, such as (20,), got "
            f"{hidden!r}."
        )
    if not hidden:
        raise ArgumentError("hidden must hold the width of at least one layer, got none.")
    for index, width in enumerate(hidden):
        _check_whole(f"hidden[{index}]", width, 1)
    activate = _chosen("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, *hidden, 1)):
        linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
        layers += [linear, activate()]
    return nn.Sequential(*layers[:-1])


def task(
    function: FunctionName = "sine",
    *,
    noise: float = 0.0,
    samples: int = 100,
    hidden: Sequence[int] = HIDDEN,
    activation: Activation = ACTIVATION,
    seed: int = 0,
    trained: bool = True,
    device: str | torch.device = "cpu",
) -> Task:
    """Return a network with points of a function.

    Parameters
    ----------
    function : {"sine", "mexican_hat"}
        Which function.
    noise : float, default 0.0
        Standard deviation of the Gaussian noise on the targets of train and validation.
    samples : int, default 100
        Samples of train, at least 3.
    hidden : sequence of int, default (20,)
        Widths of the hidden layers.
    activation : {"tanh", "sigmoid", "relu", "gelu", "silu"}
        What stands behind each hidden layer.
    seed : int, default 0
        Draws the noise, and the weights of a network that is not trained.
    trained : bool, default True
        True gives the network whose weights come with the package, fitted to 100 points without
        noise, whatever `noise`, `samples` and `seed` are; False a fresh one, to begin training
        with.
    device : str or torch.device
        Where everything is held and computed.

    Returns
    -------
    Task
        With the mean squared error as loss and its root as score; for the splits see `splits`.

    Raises
    ------
    ArgumentError
        When there is no such function, activation or device, a number cannot be used, or there are
        no trained weights for such a network.
    ArgumentTypeError
        When an argument is of a type that cannot be used.
    LoadError
        When the weights are missing or damaged.
    """
    data = splits(function, noise=noise, samples=samples, seed=seed)
    made = network(hidden, activation, seed)
    if trained:
        if tuple(hidden) != HIDDEN or activation != ACTIVATION:
            raise ArgumentError(
                f"Trained weights come for hidden={HIDDEN} and activation={ACTIVATION!r}, got "
                f"hidden={tuple(hidden)} and activation={activation!r}: give trained=False and fit "
                "the network with a trainer."
            )
        command = f"python -m optprune.problems.train_regression {function}"
        made = with_weights(network, WEIGHTS[function], f"regression {function}", command)
    arguments = {"hidden": list(hidden), "activation": activation, "seed": seed}
    return Task(
        made,
        train=data["train"],
        validation=data["validation"],
        test=data["test"],
        name=f"regression/{function}" + (f"/noise={noise:g}" if noise else ""),
        batch_size=1024,
        build=Build("optprune.problems.regression:network", arguments),
        device=device,
    )


def problem(function: FunctionName = "sine", **changes: Any) -> Problem:
    """Return the pruning problem on a function: least RMSE at least MACs.

    Any number of hidden units, which leave by their L1 score, a fit of the output layer by least
    squares, and the validation RMSE and the MACs as objectives.

    Parameters
    ----------
    function : {"sine", "mexican_hat"}
        Which function.
    **changes
        Arguments of `optprune.formulation.Problem` that replace these, and `task`, which then
        decides the function: ``problem(task=task("mexican_hat", noise=0.1))``.

    Returns
    -------
    Problem
        For example ``problem("mexican_hat", recovery=op.recovery.Nothing())``.

    Raises
    ------
    ArgumentTypeError
        When a keyword is none of them.
    ArgumentError
        When there is no such function.
    LoadError
        When the weights are missing or damaged.
    """
    own = {
        "space": Widths(),
        "recovery": LeastSquares(),
        "objectives": [metrics.rmse, metrics.macs],
    }
    made: Problem = make_problem(partial(task, function), changes, own)
    return made


def _chosen(argument: str, name: str, known: Mapping[str, Choice]) -> Choice:
    """Return what a name stands for."""
    if name not in known:
        raise ArgumentError(
            f"{argument} must be one of {', '.join(map(repr, known))}, got {name!r}."
            f"{nearest(str(name), known)}"
        )
    return known[name]


def _check_whole(argument: str, value: int, least: int) -> None:
    """Refuse anything but a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(
            f"{argument} must be a whole number, got {type(value).__name__} {value!r:.80}."
        )
    if value < least:
        raise ArgumentError(f"{argument} must be at least {least}, got {value}.")
