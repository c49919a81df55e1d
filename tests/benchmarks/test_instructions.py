"""The table of instruction sets, from made-up times; and the variables that a measuring process gets."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import instructions


def test_a_ratio_is_that_of_one_round_then_the_median() -> None:
    milliseconds = {"as the machine has them": [10, 20, 40], "AVX2": [15, 20, 100], "SSE4": [20, 60, 80]}
    records = [
        {"set": title, "round": n, "seconds": each / 1000}
        for title, times in milliseconds.items()
        for n, each in enumerate(times)
    ]
    settings = {"model": "cnn", "threads": 2, "rounds": 3}
    [table] = instructions.tables({"instructions": {"settings": settings, "records": records}})
    # AVX2: 1.5, 1 and 2.5 times; SSE4: 2, 3 and 2
    assert table.rows == [
        ("as the machine has them", "20.0", "1.00"),
        ("AVX2", "20.0", "1.50"),
        ("SSE4", "60.0", "2.00"),
    ]


def test_a_set_has_its_own_variables_and_none_of_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    def process(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        seen.append(env)
        return subprocess.CompletedProcess(command, 0, stdout="0.25\n")

    monkeypatch.setattr(subprocess, "run", process)
    monkeypatch.setenv("NUMBA_CPU_NAME", "the user's")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "the user's")
    settings = {"model": "cnn", "threads": 1, "quick": True}
    machine, *_, sse = instructions.SETS
    assert instructions.run(machine, settings, tmp_path) == 0.25
    assert instructions.run(sse, settings, tmp_path) == 0.25
    assert not {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & seen[0].keys()
    assert (seen[1]["NUMBA_CPU_NAME"], seen[1]["NUMBA_CPU_FEATURES"]) == ("nehalem", "")
    assert seen[1]["NUMBA_CACHE_DIR"] == str(tmp_path)
