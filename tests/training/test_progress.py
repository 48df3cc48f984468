"""The bar of a fit is shown in a terminal only and changes nothing."""

from __future__ import annotations

import io
import sys

import pytest

from optprune.training import SGD
from tests.training.cases import classifier, equal, fit, state


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_steps_and_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, hidden, terminal = classifier(), classifier(), Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    fit(SGD(epochs=2, batch_size=20), hidden)
    assert not terminal.getvalue()
    report, _ = fit(SGD(epochs=2, batch_size=20, progress=True), shown)
    last = terminal.getvalue().rstrip().rpartition("\r")[2]
    assert "6/6" in last
    assert f"loss={report.losses[-1]:.4g}"[:8] in last
    assert equal(state(shown), state(hidden))


def test_a_file_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    fit(SGD(epochs=1, progress=True), classifier())
    assert capsys.readouterr() == ("", "")
