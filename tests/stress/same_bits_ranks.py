"""Trainings drawn at random, on several numbers of ranks and of threads on each: do they end with the bits of one process?

    python tests/stress/same_bits_ranks.py --trainings 200

Prints a table; the exit code is 1 where anything differs.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from kill_ranks import mpiexec

PROGRAM = Path(__file__).parent.parent / "distribution" / "drawn.py"
CELLS = [(2, 1), (2, 3), (3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 3), (8, 1), (8, 2)]  # (ranks, threads)


def results(ranks: int, threads: int, seeds: range) -> dict[int, set[str]]:
    """{seed: what came of it, in all ranks}."""
    command = [str(mpiexec()), "-n", str(ranks), sys.executable, str(PROGRAM), *map(str, seeds)]
    environment = {**os.environ, "MINIDL_NUM_THREADS": str(threads)}
    lines = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.splitlines()
    found: dict[int, set[str]] = {seed: set() for seed in seeds}
    for line in lines:
        _, seed, bits, _ = json.loads(line)
        found[seed].add(bits)
    assert len(lines) == ranks * len(seeds)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.trainings)
    alone, differing = results(1, 1, seeds), 0
    print(
        f"{len(seeds)} trainings, seeds {seeds[0]} … {seeds[-1]}\n\n| ranks | threads | that differ |\n| --- | --- | --- |"
    )
    for ranks, threads in CELLS:
        found = results(ranks, threads, seeds)
        differ = [seed for seed in seeds if found[seed] != alone[seed]]
        differing += len(differ)
        print(f"| {ranks} | {threads} | {len(differ)} {differ or ''} |", flush=True)
    sys.exit(differing > 0)


if __name__ == "__main__":
    main()
