"""Plug-ins: what other packages offer by entry points, found by name.

A package says in its ``pyproject.toml`` what it offers::

    [project.entry-points."optprune.optimizers"]
    hill-climber = "mypackage.search:HillClimber"

Groups are ``optprune.optimizers`` (an optimizer, or a class or function that makes one),
``optprune.metrics`` (a metric of that name) and ``optprune.problems`` (a `Task` or `Problem`, or a
function that returns one). A plug-in is imported when its name is asked for and not before, so that
a broken one disturbs nobody else.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from optprune.errors import ArgumentError, PluginError

__all__ = ["GROUPS", "Plugin", "installed", "note_hidden", "plugin_named"]

GROUPS = ("optimizers", "metrics", "problems")
"""What a package can offer; each is an entry-point group ``optprune.…``."""


@dataclass(frozen=True)
class Plugin:
    """Something that another package offers.

    Parameters
    ----------
    kind : str
        One of `GROUPS`.
    name : str
        What it is called on the command line.
    target : str
        ``package.module:object``.
    package : str
        Name and version of the package as it is installed.
    """

    kind: str
    name: str
    target: str
    package: str

    def __str__(self) -> str:
        return (
            f"plug-in {self.name!r} of {self.package} (entry point optprune.{self.kind}: "
            f"{self.name} = {self.target})"
        )

    def load(self) -> Any:
        """Import the object.

        Raises
        ------
        PluginError
            If that fails, for whatever reason.
        """
        try:
            return EntryPoint(self.name, self.target, f"optprune.{self.kind}").load()
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"the {self} cannot be imported: {type(error).__name__}: {error}. Repair or "
                "uninstall that package; all else works without it."
            ) from error

    def wrong(self, why: str) -> PluginError:
        """Return the error of a plug-in that is not what it should be."""
        return PluginError(f"the {self} cannot be used: {why}")


def installed(kind: str) -> dict[str, tuple[Plugin, ...]]:
    """Find what the installed packages offer; nothing of it is imported.

    Parameters
    ----------
    kind : str
        One of `GROUPS`.

    Returns
    -------
    dict of str to tuple of Plugin
        By name, in alphabetical order; more than one where packages offer different objects under
        one name.
    """
    found: dict[str, dict[str, Plugin]] = {}
    for point in entry_points(group=f"optprune.{kind}"):
        package = "an unknown package"
        if point.dist is not None:
            package = f"{point.dist.metadata['Name']} {point.dist.version}"
        plugin = Plugin(kind, point.name, point.value.replace(" ", ""), package)
        found.setdefault(plugin.name, {}).setdefault(plugin.target, plugin)
    return {name: tuple(found[name].values()) for name in sorted(found)}


def plugin_named(kind: str, name: str, option: str) -> Plugin | None:
    """Return the plug-in of a name, if there is one.

    Parameters
    ----------
    kind : str
        One of `GROUPS`.
    name : str
        As it was written.
    option : str
        What it was written after, for messages.

    Raises
    ------
    ArgumentError
        If several packages offer something else under that name.
    """
    plugins = installed(kind).get(name, ())
    if len(plugins) > 1:
        offers = " and ".join(f"{plugin.package} ({plugin.target})" for plugin in plugins)
        remedy = "Uninstall one of them"
        if kind != "metrics":
            remedy += f", or write which one you mean: {option} {plugins[0].target}"
        raise ArgumentError(f"{option}: {name!r} is offered by {offers}. {remedy}.")
    return plugins[0] if plugins else None


def note_hidden(kind: str, name: str) -> None:
    """Say on standard error which plug-ins are hidden by a name of optprune's own."""
    for plugin in installed(kind).get(name, ()):
        print(
            f"optprune: note: {name!r} is optprune's own; the {plugin} has the same name and is "
            "not used"
            + ("." if kind == "metrics" else f" (it can be written as {plugin.target})."),
            file=sys.stderr,
        )
