"""What the measurements ran on."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

import minidl


def describe() -> dict[str, str]:
    """The machine and the versions that measure, as what a table shows."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": f"{available} available of {os.cpu_count()}",
        "memory": _memory(),
        "frequency governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not readable",
        "load average before": _load(),
        "begun": f"{datetime.now(UTC):%Y-%m-%d}",
        "system": platform.platform(),
        "Python": platform.python_version(),
        "minidl": minidl.__version__,
        **{name: version(name) for name in ("numpy", "numba", "llvmlite", "threadpoolctl")},
        "BLAS": "; ".join(f"{b['internal_api']} {b['version']} {b.get('architecture', '')}" for b in _blas()),
    }


def _blas() -> list[dict[str, Any]]:
    return [library for library in threadpool_info() if library["user_api"] == "blas"]


def _processor() -> str:
    lines = _read("/proc/cpuinfo").splitlines()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _memory() -> str:
    lines = [line for line in _read("/proc/meminfo").splitlines() if line.startswith("MemTotal")]
    return f"{int(lines[0].split()[1]) / 2**20:.0f} GiB" if lines else "not readable"


def _load() -> str:
    """How many threads wanted a core in the last minute: on an idle machine nearly 0."""
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "not readable"


def _read(path: str) -> str:
    """The text of a file, or nothing where there is none."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
