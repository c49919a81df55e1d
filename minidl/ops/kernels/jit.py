"""The one place where Numba is configured: how every kernel of the library is compiled."""

import warnings
from collections.abc import Callable
from typing import Any

import numba

OPTIONS: dict[str, Any] = {
    # Shards run in Python threads, so a kernel must let go of the interpreter's lock; it is itself serial.
    "nogil": True,
    # NumPy's rules for x / 0. The default tests every divisor, which keeps the loops from becoming vector code.
    "error_model": "numpy",
    # Sums may be reordered and multiply-adds fused. NaN and infinity are not assumed away: they have to propagate.
    "fastmath": {"reassoc", "contract", "nsz"},
}


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a kernel at its first call, and keep the machine code on disk for the next process where that is possible."""
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # Numba found no folder that it may write its cache to
        warnings.warn(
            "minidl cannot write compiled kernels to disk, so they are compiled anew in every process; "
            "set NUMBA_CACHE_DIR to a folder that can be written to keep them.",
            RuntimeWarning,
            stacklevel=2,
        )
        return numba.njit(**OPTIONS)(function)
