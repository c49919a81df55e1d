"""The only place where Numba is configured: how kernels are compiled, and cached on disk."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import types
from numba.core.base import BaseContext
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock

from ...utils.forks import fork_safe

OPTIONS: dict[str, Any] = {
    # Shards run in Python threads, so a kernel must release the GIL; the kernel itself is serial.
    "nogil": True,
    # Nobody calls a kernel from C: without the code for that, they compile in three quarters of the time.
    "no_cfunc_wrapper": True,
    # NumPy's rules for x / 0. The default tests every divisor, which keeps the loops from becoming vector code.
    "error_model": "numpy",
    # Sums may be reordered and multiply-adds fused. NaN and infinity are not assumed absent: they have to propagate.
    "fastmath": {"reassoc", "contract", "nsz"},
}

Kernel = TypeVar("Kernel", bound=Callable[..., object])

_noticed = False

fork_safe(global_compiler_lock)  # another thread may be compiling


def jit(function: Kernel) -> Kernel:
    """Compile a kernel at its first call, and cache the machine code on disk for the next process if possible."""
    kernel: Any = numba.njit(**OPTIONS)(function)  # it is called like the function
    if kernel is not function:  # with NUMBA_DISABLE_JIT=1 they are the same
        try:
            kernel._cache = KernelCache(function)
        except RuntimeError as error:  # Numba found no folder that it may write to
            _notice(error)
    return kernel


class _Files(CompileResultCacheImpl):
    """Names the cache's files after all kernel sources, so that outdated code is never used.

    Numba itself checks a kernel's own file, but not the files of the functions that it calls.
    """

    def get_filename_base(self, *arguments: str) -> str:
        return f"{super().get_filename_base(*arguments)}-{_sources()}"


class KernelCache(FunctionCache):
    """Numba's cache, except that an error in reading or writing it is not fatal: the kernel is compiled again."""

    _impl_class = _Files

    def load_overload(self, signature: Sequence[types.Type], target: BaseContext) -> CompileResult | None:
        """The kernel for these types from disk; None where it is missing or cannot be used."""
        try:
            found = super().load_overload(signature, target)
            if found is not None and found.signature.args != tuple(signature):
                # Numba writes index and code separately: concurrent processes may mix them up
                raise ValueError(f"expected code for {signature}, found code for {found.signature.args}")
            return found
        except Exception as error:  # a damaged pickle may raise anything
            self._forget(error)
            return None

    def save_overload(self, signature: Sequence[types.Type], result: CompileResult) -> None:
        """Store what was compiled, if possible."""
        try:
            super().save_overload(signature, result)
        except Exception as error:
            self._forget(error)

    def _forget(self, error: Exception) -> None:
        """Start a new cache for this kernel."""
        _notice(error)
        with contextlib.suppress(OSError):
            os.unlink(self._cache_file._index_path)


@cache
def _sources() -> str:
    """A hash of the kernels' source files, including this one with its settings."""
    texts = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:16]


def _notice(error: Exception) -> None:
    """Warn, once per process, that the cache cannot be used."""
    global _noticed
    if not _noticed:
        _noticed = True
        warnings.warn(
            f"minidl could not use the folder in which it keeps compiled kernels ({type(error).__name__}: {error}), so "
            "they are compiled again. If this keeps happening, set NUMBA_CACHE_DIR to a writable folder.",
            RuntimeWarning,
            stacklevel=3,
        )
