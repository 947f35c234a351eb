"""Compiles the kernels: one decorator, one cache folder per version of the sources.

Numba's file cache does not notice an edit in a helper of another module, so the cache folder is named
after a hash of all sources that hold kernels.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import types
from numba.experimental import structref
from numba.extending import register_jitable
from platformdirs import user_cache_path

Function = TypeVar("Function", bound=Callable[..., Any])

KERNEL_FOLDERS = ("hardware_models", "workloads", "envs", "agents/heuristics", "agents/oracles", "agents/search")
"""What kernels are compiled from: code, and constants of modules beside them."""


@cache
def cache_folder() -> Path:
    """Returns the folder of compiled kernels, made if need be.

    It is in the user's cache, or where ``NUMBA_CACHE_DIR`` says; where that cannot be written, in the folder for
    temporary files.
    """
    name = sources_digest(KERNEL_FOLDERS)
    parents = [Path(os.environ.get("NUMBA_CACHE_DIR") or user_cache_path("hetgym") / "kernels")]
    parents.append(Path(tempfile.gettempdir()) / f"hetgym-kernels-{getpass.getuser()}")
    for parent in parents:
        with contextlib.suppress(OSError):
            (parent / name).mkdir(parents=True, exist_ok=True)
            if os.access(parent / name, os.W_OK):
                return parent / name
    raise OSError(f"no folder for compiled kernels can be written: tried {', '.join(map(str, parents))}")


def sources_digest(folders: Sequence[str], suffixes: Sequence[str] = (".py",)) -> str:
    """Returns a hash of source files, 16 hexadecimal digits.

    Args:
        folders: Of the package, with the folders in them; or files.
        suffixes: Of the files that count.
    """
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for folder in folders:
        place = Path(__file__).parent / folder
        for source in [place] if place.is_file() else sorted(place.rglob("*")):
            if source.suffix in suffixes:
                digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _compile(function: Function, **options: bool) -> Function:
    previous = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    finally:
        numba.config.CACHE_DIR = previous
    return compiled


def kernel(function: Function) -> Function:
    """Compiles a function with numba on its first call, and keeps the machine code on disk.

    It must not allocate arrays: it is compiled without numba's reference counts, which would be an atomic
    increment at every slice, and runs twice as fast.
    """
    return _compile(function, no_cfunc_wrapper=True, _nrt=False)


def inner(function: Function) -> Function:
    """Compiles a function that only kernels call: like a kernel, but without its wrapper for Python.

    It is inlined into its callers: tuples of arrays are hundreds of words, which a call would copy.
    """
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False, forceinline=True)


def rare(function: Function) -> Function:
    """Compiles an inner function that is called, not inlined: for what happens seldom.

    A call costs up to a tenth of a microsecond; inlined everywhere, such code would take most of the time to compile.
    """
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)


def handle_kernel(function: Function) -> Function:
    """Compiles a kernel that takes a `Handle`: it only passes the handle's value on to an inner function.

    Reading a handle needs reference counts. What an inner function returns has none, so such a kernel must not
    take arrays from one: they would be freed while in use.
    """
    return _compile(function, no_cfunc_wrapper=True)


def formula(function: Function) -> Function:
    """Lets kernels call a function that otherwise stays Python's own, which takes arrays as well."""
    jitable: Function = register_jitable(function)
    return jitable


@structref.register
class _HandleType(types.StructRef):  # type: ignore[misc, name-defined]
    """The numba type of `Handle`."""


class Handle(structref.StructRefProxy):  # type: ignore[misc]
    """One named tuple of arrays, held on the compiled side.

    Numba unpacks every array of an argument at every call, 0.1 to 0.2 microseconds each; a handle is unpacked
    once, whatever it holds. Kernels read the tuple as ``handle.value``; the arrays are shared, not copied.
    """


structref.define_boxing(_HandleType, Handle)
structref.define_constructor(Handle, _HandleType, ["value"])


@handle_kernel
def hold(value: Any) -> Any:
    """Returns a `Handle` of a named tuple of arrays (or of such tuples)."""
    return Handle(value)
