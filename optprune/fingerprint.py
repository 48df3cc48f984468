"""Fingerprints: short digests that say whether two things would behave the same.

A journal may only be continued with the same network, data and functions. A function is known by
its name *and* its source, so that editing it makes another problem of it; an object by its class
and its plain attributes. Nothing depends on memory addresses or on hash order, and so a digest is
the same in another process.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["describe", "digest", "digest_arrays"]

# Known by name alone: their source changes with each release, their behavior hardly.
_LIBRARIES = frozenset({"numpy", "optprune", "scipy", "sklearn", "torch", "torchvision"})


def digest(parts: Iterable[str]) -> str:
    """Return one digest of several texts; where one ends and the next begins matters.

    Parameters
    ----------
    parts : iterable of str
        The texts, in order.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode()
        state.update(f"{len(encoded)}:".encode())
        state.update(encoded)
    return state.hexdigest()


def digest_arrays(arrays: Mapping[str, torch.Tensor | np.ndarray[Any, Any]]) -> str:
    """Return one digest of named tensors or arrays: names, types, shapes and every byte.

    Parameters
    ----------
    arrays : mapping of str to Tensor or ndarray
        In the order in which they are digested; tensors may be on any device.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    state = hashlib.blake2b(digest_size=16)
    for name, array in arrays.items():
        if isinstance(array, torch.Tensor):
            tensor = array.detach().cpu().contiguous()
            state.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
            # Bytes, not numbers: numpy has no bfloat16.
            state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        else:
            state.update(f"{name}|{array.dtype}|{array.shape}|".encode())
            state.update(np.ascontiguousarray(array).tobytes())
    return state.hexdigest()


def describe(thing: object) -> str:
    """Describe a value, function or object by what decides its behaviour.

    Parameters
    ----------
    thing : object
        Plain values, containers, tensors, arrays, functions (also partial, bound, and with a
        closure), classes, dataclasses, modules, and any object with attributes.

    Returns
    -------
    str
        The same text in every process, another one when the behaviour may be another.

    Notes
    -----
    A function is described by its qualified name, source (byte code where there is no source),
    defaults, and what its closure holds. Functions that it calls by global name are not followed:
    give a metric another version, or a method another name, when those change. Functions and
    classes of torch, numpy, scipy, sklearn and optprune itself are described by name alone.
    """
    return _describe(thing, ())


def _describe(thing: Any, path: tuple[int, ...]) -> str:
    if thing is None or isinstance(thing, (bool, int, float, complex, str, bytes)):
        return f"{type(thing).__name__}:{thing!r}"
    if id(thing) in path:
        return "(itself)"
    path = (*path, id(thing))
    if isinstance(thing, (torch.Tensor, np.ndarray)):
        return f"array:{digest_arrays({'': thing})}"
    if isinstance(thing, (torch.dtype, torch.device, np.generic)):
        return f"{type(thing).__name__}:{thing}"
    if isinstance(thing, Mapping):
        return _list(
            "mapping", (f"{_describe(k, path)}={_describe(v, path)}" for k, v in thing.items())
        )
    if isinstance(thing, (list, tuple)):
        return _list(type(thing).__name__, (_describe(item, path) for item in thing))
    if isinstance(thing, (set, frozenset)):
        return _list("set", sorted(_describe(item, path) for item in thing))
    if isinstance(thing, type):
        return f"class:{thing.__module__}.{thing.__qualname__}:{_source(thing)}"
    if isinstance(thing, functools.partial):
        return _list(
            "partial", (_describe(x, path) for x in (thing.func, thing.args, thing.keywords))
        )
    if isinstance(thing, types.MethodType):
        return _list("method", (_describe(x, path) for x in (thing.__func__, thing.__self__)))
    if isinstance(thing, types.FunctionType):
        return _describe_function(thing, path)
    if isinstance(thing, (types.BuiltinFunctionType, types.ModuleType)):
        return f"builtin:{getattr(thing, '__module__', '')}.{thing.__name__}"
    return _describe_object(thing, path)


def _describe_function(function: types.FunctionType, path: tuple[int, ...]) -> str:
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(cell.cell_contents)
        except ValueError:  # the name is not bound yet
            cells.append(None)
    held = (function.__defaults__, function.__kwdefaults__, tuple(cells))
    return _list(
        f"function:{function.__module__}.{function.__qualname__}",
        (_source(function), *(_describe(item, path) for item in held)),
    )


def _describe_object(thing: Any, path: tuple[int, ...]) -> str:
    cls = type(thing)
    attributes: dict[str, Any]
    if dataclasses.is_dataclass(thing):
        attributes = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}
    else:
        attributes = dict(getattr(thing, "__dict__", {}))
    if not attributes and " at 0x" not in repr(thing):
        attributes = {"repr": repr(thing)}
    named = (f"{name}={_describe(attributes[name], path)}" for name in sorted(attributes))
    return _list(f"object:{_describe(cls, path)}", named)


def _list(kind: str, parts: Iterable[str]) -> str:
    # Lengths keep ("a", "b,c") and ("a,b", "c") apart.
    return f"{kind}({','.join(f'{len(part)}:{part}' for part in parts)})"


def _source(thing: Any) -> str:
    if str(thing.__module__).partition(".")[0] in _LIBRARIES:
        return ""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        code = getattr(thing, "__code__", None)
        return "" if code is None else _byte_code(code)


def _byte_code(code: types.CodeType) -> str:
    constants = (
        _byte_code(item) if isinstance(item, types.CodeType) else repr(item)
        for item in code.co_consts
        # A frozen set is shown in hash order, which differs between processes.
        if not isinstance(item, frozenset)
    )
    return _list(code.co_code.hex(), (*constants, *code.co_names))
