"""The optimizer that a name and options on the command line mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from optprune import optimizers
from optprune.cli.importing import imported
from optprune.cli.names import OPTIMIZERS
from optprune.cli.plugins import Plugin, installed, note_hidden, plugin_named
from optprune.cli.values import read_options
from optprune.errors import ArgumentError, ArgumentTypeError, OptpruneError, nearest
from optprune.search import Optimizer

__all__ = ["load_optimizer", "optimizer_named"]


def optimizer_named(name: str, options: Sequence[str] = ()) -> Optimizer:
    """Return the optimizer that was asked for.

    Parameters
    ----------
    name : str
        One of optprune's own names, a plug-in's, or ``package.module:name`` of an optimizer or of
        what makes one.
    options : sequence of str, optional
        ``field=value`` each, for the class or function that makes it.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If the name means nothing, what it means is no optimizer, or an option cannot be used.
    PluginError
        If the plug-in of that name cannot be used.
    """
    if ":" in name:
        made: Optimizer = _made(imported(name, "--optimizer"), options, name)
        if not _is_optimizer(made):
            raise ArgumentTypeError(f"--optimizer {name!r} {_wanted(made)}")
        return made
    if name in OPTIMIZERS:
        note_hidden("optimizers", name)
        own: Optimizer = _made(getattr(optimizers, OPTIMIZERS[name]), options, name)
        return own
    plugin = plugin_named("optimizers", name, "--optimizer")
    if plugin is not None:
        return load_optimizer(plugin, options)
    known = [*OPTIMIZERS, *installed("optimizers")]
    hint = nearest(name, known) or f" There are {', '.join(known)}."
    raise ArgumentError(
        f"--optimizer: there is no optimizer {name!r}.{hint} Your own are written "
        "package.module:name; optprune plugins lists all names."
    )


def load_optimizer(plugin: Plugin, options: Sequence[str] = ()) -> Optimizer:
    """Return the optimizer of a plug-in.

    Raises
    ------
    PluginError
        If it cannot be imported, or is no optimizer.
    ArgumentError
        If an option cannot be used.
    """
    made: Optimizer = _made(plugin.load(), options, plugin.name, plugin)
    if not _is_optimizer(made):
        raise plugin.wrong(_wanted(made))
    return made


def _made(found: Any, options: Sequence[str], name: str, plugin: Plugin | None = None) -> Any:
    """Make an optimizer by a class or function, or give one other options."""
    who = f"optimizer {name!r}"
    if _is_optimizer(found):
        if not options:
            return found
        if not dataclasses.is_dataclass(found) or isinstance(found, type):
            raise ArgumentError(
                f"--option {options[0]!r}: {who} is an object that is no dataclass, and takes no "
                "options."
            )
        return dataclasses.replace(found, **read_options(type(found), options, who))
    if not callable(found):
        return found
    values = read_options(found, options, who)
    try:
        return found(**values)
    except OptpruneError:
        raise
    except Exception as error:
        raised = f"making it raised {type(error).__name__}: {error}."
        if plugin is not None:
            raise plugin.wrong(raised) from error
        raise ArgumentError(f"--optimizer {name!r}: {raised}") from error


def _is_optimizer(found: Any) -> bool:
    return isinstance(found, Optimizer) and not isinstance(found, type)


def _wanted(found: Any) -> str:
    """Say what was expected and what came."""
    return (
        "must be an optimizer, with a `name` and `search(problem, session)`, or a class or "
        f"function that makes one; got {type(found).__name__} {found!r:.80}."
    )
