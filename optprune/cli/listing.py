"""``optprune plugins``: what can be named on the command line, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import optprune.problems
from optprune.cli.formulate import load_problem
from optprune.cli.metrics import load_metric, shipped_metrics
from optprune.cli.names import OPTIMIZERS
from optprune.cli.optimizer import load_optimizer
from optprune.cli.plugins import Plugin, installed
from optprune.cli.printing import make_console
from optprune.errors import OptpruneError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["list_plugins"]

_LOADERS: Mapping[str, Callable[[Plugin], Any]] = {
    "optimizers": load_optimizer,
    "metrics": load_metric,
    "problems": load_problem,
}
_USED_BY = {
    "optimizers": "--optimizer NAME",
    "metrics": "--minimize, --maximize, --subject-to and --select",
    "problems": "optprune solve NAME",
}


def list_plugins() -> None:
    """Print all names by their kind; plug-ins are imported, and broken ones told."""
    console = make_console()
    plugged = {kind: installed(kind) for kind in _LOADERS}
    for kind, own in _own().items():
        console.print(f"{kind.capitalize()} ({_USED_BY[kind]})", style="bold")
        width = max(map(len, [*own, *plugged[kind]])) + 2
        for name, place in own.items():
            console.print(f"  {name:<{width}}{place}, optprune {version('optprune')}")
        for name, plugins in plugged[kind].items():
            for plugin in plugins:
                console.print(f"  {name:<{width}}{plugin.target}, {plugin.package}")
                _tell(console, plugin, name in own, len(plugins))
        console.print()
    console.print(
        "Other packages add to this by entry points in the groups "
        f"{', '.join(f'optprune.{kind}' for kind in _LOADERS)}.",
        style="dim",
    )


def _own() -> dict[str, dict[str, str]]:
    """Return what optprune has itself, by kind and name."""
    return {
        "optimizers": {name: f"optprune.optimizers:{kind}" for name, kind in OPTIMIZERS.items()},
        "metrics": {name: f"optprune.metrics:{name}" for name in shipped_metrics()},
        "problems": {name: f"optprune.problems:{name}" for name in optprune.problems.__all__},
    }


def _tell(console: Console, plugin: Plugin, hidden: bool, several: int) -> None:
    """Say what keeps a plug-in from being used by its name, if anything does."""
    if hidden:
        console.print("    not used: optprune has something of that name itself", style="yellow")
    elif several > 1:
        console.print("    not used: other packages offer something else by it", style="yellow")
    try:
        _LOADERS[plugin.kind](plugin)
    except OptpruneError as error:
        console.print(f"    {error}", style="red")
