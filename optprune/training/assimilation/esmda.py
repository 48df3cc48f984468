"""Ensemble smoother with multiple data assimilation."""

from __future__ import annotations

from dataclasses import dataclass

from optprune.errors import ArgumentError
from optprune.training.assimilation.assimilating import Run, batches
from optprune.training.assimilation.coefficients import (
    Coefficients,
    adaptive_coefficient,
    check_count,
    coefficients,
    inverse_sum,
)
from optprune.training.assimilation.smoothing import Smoothing

__all__ = ["ESMDA"]


@dataclass(frozen=True, kw_only=True)
class ESMDA(Smoothing):
    r"""Ensemble smoother with multiple data assimilation: all data, several times, no gradient.

    Parameters
    ----------
    members : int, default 100
        Versions of the weights, at least 2. All that is learned lies in the span of their
        deviations at the start, unless `localization` or `inflation` opens other directions.
    observation : Gaussian, CrossEntropy or other Observation
        What of the outputs is set against the targets, with which errors; ``Gaussian(0.1)`` by
        default.
    spread : float or mapping of str to float, default 0.3
        Standard deviation of the members around the network at the start, in units of a layer's
        :math:`1 / \sqrt{\text{fan-in}}`; by names or patterns of parameters where it is a mapping.
    parameters : str or tuple of str, default "*"
        Names or patterns of the parameters that are fitted; the others stay.
    localization : OutputBlocks, Correlation, Mask or other Localization, optional
        Which observations move which parameters; None lets all move all.
    held_out : float
        Fraction of the data, in [0, 1), held out of the fit, at least one sample; where it is not
        0, the network ends as it was after the pass at which their loss was least.
    patience : int, optional
        Passes without a lower loss on held-out data after which the fit ends; needs `held_out`.
    vectorized : bool
        Whether members are computed together by `torch.func.vmap`.
    hooks : Hooks
        What else happens after each step, which is an analysis: `after_step` and `every`, without
        gradients and in evaluation mode. Hooks see the mean network. Where one changes weights that
        are fitted, as a mask or a projection does, all members are shifted by the change of their
        mean. For a hook after each pass give ``every=(n, function)``, with the n steps of a pass: 1
        if all data is taken at once, else the number of batches.
    checkpoint : str or Path, optional
        A file that is written during the fit, and that the same fit goes on from when it was
        interrupted.
    checkpoint_every : int
        Passes between two writings.
    progress : bool
        Whether a bar with the loss is shown, in a terminal or a notebook.
    form : {"perturbed", "etkf", "denkf"}
        See `optprune.training.assimilation.analysis`.
    solver : {"cholesky", "svd"}
        See `optprune.training.assimilation.analysis`.
    energy : float
        For ``solver="svd"``: share of the sum of singular values that is kept.
    inflation : Multiplicative, Additive, Relaxation or other Inflation, optional
        What keeps up the spread after each analysis.
    assimilations : int, default 4
        Passes over the data; for ``coefficients="adaptive"`` the most there may be.
    coefficients : {"constant", "decreasing", "adaptive"} or tuple of float
        Factors on the covariance of the errors, the inverses of which sum to 1: all equal to
        `assimilations`; each half of the one before; by the misfit of the members; or given.
    batch_size : int, optional
        Samples of one analysis; all by default. In a pass, mini-batches come in a new order, and
        each counts once.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If a parameter cannot be used.

    Notes
    -----
    For a linear model and many members, the members end as samples of the posterior whose prior is
    their distribution at the start, whatever the number of assimilations; for a network, several
    assimilations are what makes it follow the curvature [1]_. The adaptive coefficients are those
    of Iglesias and Yang 2021; the passes end when their inverses have come to 1. Where
    `assimilations` are spent before, the rest of the data's weight was not used: the reason of the
    report says so.

    As in `optprune.training.SGD`, a checkpoint knows hooks by their names alone, and what they
    remember is not restored. Unlike there, torch's global generator is not seeded for them.

    References
    ----------
    .. [1] A. A. Emerick and A. C. Reynolds, Ensemble smoother with multiple data assimilation,
       Computers & Geosciences 55, 2013, doi:10.1016/j.cageo.2012.03.011.
    .. [2] C. Chen et al., A novel neural network training framework with data assimilation,
       arXiv:2010.02626, 2020 (networks; settings not published).
    """

    assimilations: int = 4
    coefficients: Coefficients = "constant"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("assimilations", self.assimilations)
        if self.batch_size is not None:
            check_count("batch_size", self.batch_size)
        if self.coefficients == "adaptive":
            if self.batch_size is not None:
                raise ArgumentError(
                    "ESMDA: coefficients='adaptive' weighs all data at once: leave `batch_size` "
                    "out, or choose 'constant' or 'decreasing'."
                )
        else:
            coefficients(self.coefficients, self.assimilations)

    def _passes(self) -> int:
        return len(self._planned() or ()) or self.assimilations

    def _steps(self, samples: int) -> int:
        return 1 if self.batch_size is None else -(-samples // self.batch_size)

    def _planned(self) -> tuple[float, ...] | None:
        """Return the coefficients, None where they depend on the misfit."""
        if self.coefficients == "adaptive":
            return None
        return coefficients(self.coefficients, self.assimilations)

    def _pass(self, run: Run) -> str | None:
        state, planned = run.state, self._planned()
        for inputs, targets in batches(run.train, self.batch_size, state.generator):
            members = state.tensors_kept["members"]
            members, observed, step = self._observe_in(run, members, inputs, targets)
            if planned is not None:
                alpha = planned[state.epoch]
            else:
                spent = inverse_sum([update.inflation for update in state.history])
                alpha = adaptive_coefficient(observed.innovations, spent)
            self._condition(state, members, observed, alpha, run.scales)
            stopped = self._stepped(state, step)
            if stopped is not None:
                return stopped
        if planned is None:
            spent = inverse_sum([update.inflation for update in state.history])
            if spent >= 1 - 1e-9:
                return f"finished {state.epoch + 1} adaptive assimilations"
            if state.epoch + 1 == self.assimilations:
                return (
                    f"stopped after {self.assimilations} adaptive assimilations, with "
                    f"{spent:.3g} of the data's weight used"
                )
        return None
