"""Options of an object - ``name=value`` - read by the types of what makes it."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from optprune.errors import ArgumentError, nearest

__all__ = ["read_options", "read_value"]


def read_options(make: Callable[..., Any], written: Sequence[str], who: str) -> dict[str, Any]:
    """Read options as arguments of a class or function.

    Parameters
    ----------
    make : callable
        Its parameters and their types say what can be written and what it means.
    written : sequence of str
        ``name=value`` each.
    who : str
        What the options are for, for messages.

    Returns
    -------
    dict of str to object
        Keyword arguments.

    Raises
    ------
    ArgumentError
        If an option is written otherwise, or twice, there is no such parameter, its value is not
        of its type, or its type cannot be written as text.
    """
    parameters = _parameters(make)
    values: dict[str, Any] = {}
    for text in written:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not name:
            raise ArgumentError(f"--option {text!r} must be written name=value.")
        if name not in parameters:
            known = ", ".join(_shown(parameter) for parameter in parameters.values()) or "none"
            raise ArgumentError(
                f"--option {text!r}: {who} has no {name!r}.{nearest(name, parameters)} It has "
                f"{known}."
            )
        if name in values:
            raise ArgumentError(f"--option {text!r}: {name} is given twice.")
        values[name] = read_value(value, parameters[name].annotation, f"--option {text!r}")
    return values


def read_value(text: str, kind: Any, said: str) -> Any:
    """Read a value of a type.

    Parameters
    ----------
    text : str
        The value: a number, a word, ``true``, ``false``, ``none``, or several values with commas
        between them.
    kind : type
        What it should become: bool, int, float, str, None, a Literal, a tuple or sequence of
        these, or a union of these. Without a type, what the text looks like.
    said : str
        What was written, for messages.

    Raises
    ------
    ArgumentError
        If it is no such value.
    """
    readers = list(_readers(kind))
    for _, read in readers:
        try:
            return read(text)
        except ValueError:
            continue
    remedy = (
        "cannot be written on the command line. Write a function that returns the optimizer, and "
        "say --optimizer package.module:function."
    )
    if not readers:
        raise ArgumentError(f"{said}: a value of type {_named(kind)} {remedy}")
    expected = " or ".join(dict.fromkeys(words for words, _ in readers))
    others = [one for one in _members(kind) if not list(_readers(one))]
    raise ArgumentError(
        f"{said}: {text!r} is not {expected}."
        + "".join(f" A value of type {_named(one)} {remedy}" for one in others[:1])
    )


def _readers(kind: Any) -> typing.Iterator[tuple[str, Callable[[str], Any]]]:
    """Yield ways to read a value of a type, the strictest first, with words for each."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is inspect.Parameter.empty or kind is Any:
        yield from (_PLAIN[one] for one in (None, bool, int, float, str))
    elif kind in (None, bool, int, float, str, type(None)):
        yield _PLAIN[None if kind is type(None) else kind]
    elif origin is Literal:
        yield f"one of {', '.join(map(str, arguments))}", lambda text: _literal(text, arguments)
    elif _members(kind):
        # A text is anything, so it comes last.
        for one in sorted(_members(kind), key=lambda one: one is str):
            yield from _readers(one)
    elif isinstance(origin, type) and origin is not dict and issubclass(origin, Sequence):
        members = [a for a in arguments if a is not Ellipsis] or [Any]
        if len(arguments) > 1 and Ellipsis not in arguments and len(set(arguments)) > 1:
            return
        inner = list(_readers(members[0]))
        if inner:
            words = f"{inner[0][0]}, or several with commas between them"
            length = None if Ellipsis in arguments or origin is not tuple else len(arguments)
            yield words, lambda text: _several(text, inner, length)


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union; nothing of any other type."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else ()


def _several(
    text: str, readers: Sequence[tuple[str, Callable[[str], Any]]], length: int | None
) -> tuple[Any, ...]:
    """Read values with commas between them."""
    parts = [part.strip() for part in text.strip("()[]").split(",")]
    parts = [part for part in parts if part]
    if not parts or (length is not None and len(parts) != length):
        raise ValueError
    values = []
    for part in parts:
        for _, read in readers:
            try:
                values.append(read(part))
            except ValueError:
                continue
            break
        else:
            raise ValueError
    return tuple(values)


def _literal(text: str, known: Sequence[Any]) -> Any:
    """Return the known value that is written so."""
    return {str(value): value for value in known}[text] if text in map(str, known) else _no()


def _no() -> Any:
    raise ValueError


def _none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()] if text.lower() in _BOOLS else _no()


_BOOLS = ("true", "false")
_PLAIN: dict[Any, tuple[str, Callable[[str], Any]]] = {
    None: ("none", _none),
    bool: ("true or false", _bool),
    int: ("a whole number", int),
    float: ("a number", float),
    str: ("a text", str),
}


def _parameters(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the named parameters of a class or function, with types instead of their names."""
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):
        return {}
    return {
        name: parameter.replace(annotation=_resolved(make, name, parameter.annotation))
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }


def _resolved(make: Any, name: str, annotation: Any) -> Any:
    """Return the type that an annotation names; what cannot be resolved stays a text."""
    if not isinstance(annotation, str):
        return annotation
    places = [make]
    if isinstance(make, type):  # a field belongs to the module of the class that declares it
        declared = [c for c in make.__mro__ if name in vars(c).get("__annotations__", {})]
        places = [*declared, make]
    for place in places:
        known = vars(sys.modules.get(getattr(place, "__module__", ""), types))
        written = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            return typing.get_type_hints(written, globalns=known)[name]
        except (NameError, TypeError, AttributeError):
            continue
    return annotation


def _shown(parameter: inspect.Parameter) -> str:
    """Write a parameter with its default, as far as that is a plain value."""
    default = parameter.default
    plain = default is None or isinstance(default, (bool, int, float, str, tuple))
    return f"{parameter.name}={default}" if plain else parameter.name


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind).replace("typing.", "")
