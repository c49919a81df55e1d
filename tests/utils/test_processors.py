"""The processors of this process, from files as Linux writes them, laid out by hand."""

import math
import os

import pytest

from minidl import get_num_threads
from minidl.engine import workers
from minidl.utils import processors

V2 = "0::{}\n"
V1 = "12:memory:{0}\n5:cpuset:{0}\n4:cpu,cpuacct:{0}\n1:name=systemd:{0}\n0::/\n"

CASES = {
    # a container of version 2, which sees its own group as the root
    "two and a half": (V2.format("/"), {"cpu.max": "250000 100000"}, 2.5),
    "another period": (V2.format("/"), {"cpu.max": "50000 20000\n"}, 2.5),
    "no limit": (V2.format("/"), {"cpu.max": "max 100000\n"}, math.inf),
    "half a processor": (V2.format("/"), {"cpu.max": "50000 100000\n"}, 0.5),
    "a service": (V2.format("/system.slice/a.service"), {"system.slice/a.service/cpu.max": "300000 100000\n"}, 3),
    "a limit on the group around it": (
        V2.format("/pods/pod1/one"),
        {"pods/pod1/one/cpu.max": "max 100000\n", "pods/pod1/cpu.max": "150000 100000\n", "pods/cpu.max": "800000 100000\n"},
        1.5,
    ),
    "a limit on another group": (V2.format("/pods/pod1"), {"pods/pod2/cpu.max": "100000 100000\n"}, math.inf),
    "the host's path in a container": (V2.format("/docker/abc"), {"cpu.max": "200000 100000\n"}, 2),
    # version 1
    "version 1": (
        V1.format("/docker/abc"),
        {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n"},
        4,
    ),
    "version 1 in a container": (
        V1.format("/docker/abc"),
        {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        1.5,
    ),
    "version 1 without a limit": (
        V1.format("/"),
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        math.inf,
    ),
    "version 1, of memory alone": ("3:memory:/\n", {"cpu/cpu.cfs_quota_us": "1\n", "cpu/cpu.cfs_period_us": "1\n"}, math.inf),
    # what cannot be read is no limit
    "no control groups": (None, {}, math.inf),
    "no line of them": ("what is this\n\n::\n", {"cpu.max": "1 1\n"}, math.inf),
    "damaged": (V2.format("/"), {"cpu.max": "lots\n"}, math.inf),
    "empty": (V2.format("/"), {"cpu.max": ""}, math.inf),
    "zeros": (V2.format("/"), {"cpu.max": "0 0\n"}, math.inf),
}  # fmt: skip


def laid_out(tmp_path, own, files):
    """(proc, cgroups) with these files."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    if own is not None:
        (proc / "cgroup").write_text(own)
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


@pytest.mark.parametrize("case", CASES)
def test_the_quota_of_the_control_groups(tmp_path, case):
    own, files, expected = CASES[case]
    assert processors.quota(*laid_out(tmp_path, own, files)) == expected


@pytest.mark.parametrize(
    ("case", "threads"),
    [("half a processor", 1), ("two and a half", 3), ("a service", 3), ("version 1", 4), ("no limit", 6)],
)
def test_there_are_as_many_threads_as_the_quota_has_work_for(tmp_path, monkeypatch, case, threads):
    proc, cgroups = laid_out(tmp_path, *CASES[case][:2])
    monkeypatch.setattr(processors, "PROC", proc)
    monkeypatch.setattr(processors, "CGROUPS", cgroups)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(workers, "_num_threads", None)
    monkeypatch.delenv("MINIDL_NUM_THREADS", raising=False)
    assert get_num_threads() == threads
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert get_num_threads() == 1
    monkeypatch.setenv("MINIDL_NUM_THREADS", "5")
    assert get_num_threads() == 5  # what the user says counts
