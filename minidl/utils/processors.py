"""How many processors this process may use: by its affinity, and by the share of time that a container gives it."""

import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")
CGROUPS = Path("/sys/fs/cgroup")


def available() -> int:
    """The processors that this process may run on; fewer where it may use no more of their time: a quota of 1.5 counts as 2.

    Threads beyond the quota would only wait for each other while all of them are stopped. The quota is read once.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, quota(PROC, CGROUPS))))


@functools.cache
def quota(proc: Path, cgroups: Path) -> float:
    """The processors' time that control groups leave this process, in processors: ∞ where there is no limit, or no Linux.

    proc: /proc/self. cgroups: /sys/fs/cgroup. A limit of any group around the process's own counts as well.
    """
    limits = [math.inf]
    for line in _lines(proc / "cgroup"):
        number, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "")
        if number == "0":  # version 2, which has one hierarchy
            limits += [_ratio(_lines(group / "cpu.max")) for group in _around(cgroups, path)]
        elif "cpu" in controllers.split(","):
            for mount in ("cpu", "cpu,cpuacct", "cpuacct,cpu"):
                for group in _around(cgroups / mount, path):
                    limits.append(_ratio([*_lines(group / "cpu.cfs_quota_us"), *_lines(group / "cpu.cfs_period_us")]))
    return min(limits)


def _around(mount: Path, path: str) -> Iterator[Path]:
    """A group's folder and those around it, up to the mount: inside a container that is its own group, whatever its path says."""
    group = mount / path.strip("/")
    yield group
    for parent in group.parents:
        if not parent.is_relative_to(mount):
            return
        yield parent


def _ratio(lines: list[str]) -> float:
    """The quota by the period, from "50000 100000" in one line or two; ∞ for "max", −1, or where there is none."""
    numbers = " ".join(lines).split()
    if len(numbers) != 2 or not all(each.isascii() and each.isdigit() for each in numbers):
        return math.inf
    amount, period = map(int, numbers)
    return amount / period if amount and period else math.inf


def _lines(path: Path) -> list[str]:
    """The lines of a file; none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
