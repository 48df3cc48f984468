r"""What keeping a share of a group is worth: utilities of the keep-ratio.

A utility says what the ratio :math:`x_g = w_g / W_g` of kept to dense width is worth to group g;
:math:`\sum_g I_g u(x_g)` is maximized. A program in the logarithms :math:`y_g = \log x_g` is convex
where u is concave in y, which is more than concave in x: the costs are convex there already.

================= =================== =========================== ====================
utility           u(x)                in y                        where x becomes small
================= =================== =========================== ====================
`Log`             log x               y                           falls without end
`Inverse`         -1/x                -exp(-y)                    falls faster
`Saturating` (p)  1 - x**-p           1 - exp(-p y)               p bends it
`Linear`          x                   exp(y), convex: refused     falls to zero
================= =================== =========================== ====================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from optprune.errors import ArgumentError, ArgumentTypeError

__all__ = ["Inverse", "Linear", "Log", "OwnUtility", "Saturating", "Utility", "as_concave"]

_Floats = npt.NDArray[np.float64]


class Utility(ABC):
    """What a keep-ratio is worth, as a function of y = log x, for each group alone."""

    @abstractmethod
    def expression(self, y: Any) -> Any:
        """Return the utility as a cvxpy expression of an expression `y`, shape (n_groups,)."""

    @abstractmethod
    def value(self, y: _Floats) -> _Floats:
        """Return the utility of every group, shape (n_groups,), at `y` of the same shape."""

    @abstractmethod
    def slope(self, y: _Floats) -> _Floats:
        """Return the derivative by y of every group, shape (n_groups,), at `y`."""


@dataclass(frozen=True)
class Log(Utility):
    """The logarithm of the keep-ratio, log x: the weighted product of all ratios is maximized.

    At the optimum, a group's share of the cost is proportional to its importance.
    """

    def expression(self, y: Any) -> Any:
        """Return y itself."""
        return y

    def value(self, y: _Floats) -> _Floats:
        """Return y itself."""
        return y

    def slope(self, y: _Floats) -> _Floats:
        """Return ones."""
        return np.ones_like(y)


@dataclass(frozen=True)
class Inverse(Utility):
    """The negative inverse of the keep-ratio, -1/x: as variances of averages behave."""

    def expression(self, y: Any) -> Any:
        """Return -exp(-y)."""
        import cvxpy as cp

        return -cp.exp(-y)

    def value(self, y: _Floats) -> _Floats:
        """Return -exp(-y)."""
        return -np.exp(-y)

    def slope(self, y: _Floats) -> _Floats:
        """Return exp(-y)."""
        return np.exp(-y)


@dataclass(frozen=True)
class Saturating(Utility):
    """A utility that saturates at the dense width, 1 - x**-p.

    Parameters
    ----------
    p : float
        How fast it falls when a group becomes narrow, above 0.

    Raises
    ------
    ArgumentError
        If `p` is not a finite number above 0.
    """

    p: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.p) and self.p > 0):
            raise ArgumentError(f"Saturating: `p` must be finite and above 0; got {self.p!r}.")

    def expression(self, y: Any) -> Any:
        """Return 1 - exp(-p y)."""
        import cvxpy as cp

        return 1 - cp.exp(-self.p * y)

    def value(self, y: _Floats) -> _Floats:
        """Return 1 - exp(-p y)."""
        return -np.expm1(-self.p * y)

    def slope(self, y: _Floats) -> _Floats:
        """Return p exp(-p y)."""
        return self.p * np.exp(-self.p * y)


@dataclass(frozen=True)
class Linear(Utility):
    """The keep-ratio x itself: convex in y, so that no convex program takes it.

    `optprune.allocation.SignomialProgram` climbs to a local optimum of it and bounds the global
    one.
    """

    def expression(self, y: Any) -> Any:
        """Return exp(y)."""
        import cvxpy as cp

        return cp.exp(y)

    def value(self, y: _Floats) -> _Floats:
        """Return exp(y)."""
        return np.exp(y)

    def slope(self, y: _Floats) -> _Floats:
        """Return exp(y)."""
        return np.exp(y)


@dataclass(frozen=True)
class OwnUtility(Utility):
    """A utility that the user wrote with cvxpy's atoms.

    Parameters
    ----------
    function : callable
        Takes a cvxpy expression y, shape (n_groups,), and returns one of the same shape. Entry g
        may depend on y of group g alone.
    """

    function: Callable[[Any], Any]

    def expression(self, y: Any) -> Any:
        """Return what the function makes of `y`."""
        return self.function(y)

    def value(self, y: _Floats) -> _Floats:
        """Return the value that cvxpy finds."""
        import cvxpy as cp

        return np.asarray(self.function(cp.Constant(y)).value, dtype=np.float64)

    def slope(self, y: _Floats) -> _Floats:
        """Return the derivative (at a kink, a supergradient) that cvxpy finds."""
        return np.diag(self.jacobian(y)).copy()

    def jacobian(self, y: _Floats) -> _Floats:
        """Return the derivatives at `y`, shape (n_groups, n_groups); diagonal for a utility.

        Raises
        ------
        ArgumentError
            If the function has no derivative at `y`.
        """
        import cvxpy as cp

        variable = cp.Variable(len(y))
        expression = self.function(variable)
        variable.value = y
        gradients = expression.grad
        if variable not in gradients:
            return np.zeros((len(y), len(y)))
        found = gradients[variable]
        if found is None:
            raise ArgumentError(
                f"`utility` {self.function!r} is not defined at y = log x = {y.tolist()}; it must "
                "be for every x from the least ratio to 1."
            )
        # For one group cvxpy gives a number in place of a matrix.
        found = found.toarray() if hasattr(found, "toarray") else found
        return np.reshape(found, (len(y), len(y))).astype(np.float64)


def as_concave(owner: str, utility: Utility | Callable[[Any], Any], n_groups: int) -> Utility:
    """Return a utility that is concave in y, or say why this one is not.

    Parameters
    ----------
    owner : str
        Who asks, for the message.
    utility : Utility or callable
        A utility, or a function of a cvxpy expression.
    n_groups : int
        How many groups there are.

    Returns
    -------
    Utility

    Raises
    ------
    ArgumentTypeError
        If it is neither.
    ArgumentError
        If it has a wrong shape, mixes groups, or is not concave by the rules of cvxpy.
    """
    import cvxpy as cp

    if not isinstance(utility, Utility):
        if not callable(utility):
            raise ArgumentTypeError(
                f"{owner}: `utility` must be a utility, for example Log(), or a function of a "
                f"cvxpy expression, not {utility!r}."
            )
        utility = OwnUtility(utility)
    expression = utility.expression(cp.Variable(n_groups))
    if not isinstance(expression, cp.Expression):
        raise ArgumentTypeError(
            f"{owner}: `utility` must return a cvxpy expression, not {expression!r}; use cvxpy's "
            "atoms, such as cvxpy.exp."
        )
    if expression.shape != (n_groups,):
        raise ArgumentError(
            f"{owner}: `utility` must return a value for each group, shape ({n_groups},); got "
            f"{expression.shape}. The sum over the groups is taken by the program."
        )
    if not expression.is_concave():
        remedy = (
            "; use SignomialProgram, which finds local optima of it and bounds the global one."
            if isinstance(utility, Linear)
            else ". cvxpy must be able to see that it is concave: compose it of concave atoms, "
            "such as y itself, -cvxpy.exp(-y), -cvxpy.square(y), cvxpy.minimum(y, -1), with "
            "positive factors."
        )
        raise ArgumentError(
            f"{owner}: `utility` must be concave in y = log x; cvxpy finds that {utility!r} is "
            f"{expression.curvature.lower()}{remedy}"
        )
    if isinstance(utility, OwnUtility):
        jacobian = utility.jacobian(np.linspace(-0.5, -0.25, n_groups))
        if (jacobian != np.diag(np.diag(jacobian))).any():
            raise ArgumentError(
                f"{owner}: `utility` mixes groups; its entry g may depend on y[g] alone."
            )
    return utility
