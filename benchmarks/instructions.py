"""What older instruction sets lose: the same training step, compiled for each and run on this machine.

    python -m benchmarks.instructions

Numba and OpenBLAS are told that the processor is an older one, each time in a process of its own. The sets take turns; a ratio is
that of one round, then the median over the rounds.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from .contestants.minidl import Trainer
from .models import MODELS
from .processes import ROOT
from .results import Part, Results, main, parser
from .tables import Table, number
from .timing import median_seconds


class InstructionSet(NamedTuple):
    """title: of the row. environment: variables that make Numba and OpenBLAS write for it."""

    title: str
    environment: dict[str, str]


# The first is what the others are compared with. A processor that lacks AVX2 cannot run the second.
SETS = (
    InstructionSet("as the machine has them", {}),
    InstructionSet(
        "AVX2", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma", "OPENBLAS_CORETYPE": "Haswell"}
    ),
    InstructionSet("SSE4", {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Nehalem"}),
)
SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # the user's own


def step_seconds(model: str, threads: int, budget: float) -> float:
    """The median time of one step of training, seconds."""
    chosen = MODELS[model]
    rng = np.random.default_rng(1)
    x = rng.random((chosen.batch_size, *chosen.shape), np.float32)
    y = rng.integers(0, 10, chosen.batch_size)
    trainer = Trainer(chosen, threads, 1)
    return median_seconds(lambda: trainer.model.train_on_batch(x, y), budget)


def run(instructions: InstructionSet, settings: dict[str, Any], cache: Path) -> float:
    """``step_seconds`` in a process that has these instructions; cache: where it keeps what it compiles."""
    budget = 0.1 if settings["quick"] else 2.0
    call = f"step_seconds({settings['model']!r}, {settings['threads']}, {budget})"
    kept = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.instructions import step_seconds; print({call})"],
        cwd=ROOT,
        env=kept | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)} | instructions.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "instructions": a record a round and set."""
    results.begin("instructions", settings)
    with tempfile.TemporaryDirectory(prefix="minidl-benchmarks-") as folder:
        for round_number in range(settings["rounds"]):
            for instructions in SETS:
                seconds = run(instructions, settings, Path(folder) / instructions.title)
                results.add("instructions", {"set": instructions.title, "round": round_number, "seconds": seconds})
                console.print(f"round {round_number + 1}: {number(1e3 * seconds)} ms a step, {instructions.title}")


def tables(parts: dict[str, Any]) -> list[Table]:
    """A row a set."""
    part = parts["instructions"]
    settings, seconds = part["settings"], {(r["set"], r["round"]): r["seconds"] for r in part["records"]}
    rounds = range(settings["rounds"])
    rows = []
    for title, _ in SETS:
        milliseconds = 1e3 * statistics.median(seconds[title, n] for n in rounds)
        ratio = statistics.median(seconds[title, n] / seconds[SETS[0].title, n] for n in rounds)
        rows.append((title, number(milliseconds), number(ratio)))
    title = f"{MODELS[settings['model']].title}, {settings['threads']} threads: a step of training"
    return [Table(title, ("instructions", "ms", "times as long"), rows)]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--model", choices=MODELS, default="cnn")
    result.add_argument("--rounds", type=int, default=5, help="turns of each set (default: 5)")
    return result


PART = Part("instructions", options(), {"rounds": 1}, measure, tables)

if __name__ == "__main__":
    main(PART)
