"""The race: the same models, data, batch sizes and threads in every library that is installed.

    python -m benchmarks.install        # the peers, once
    python -m benchmarks.race

The machine may be busy with other things, and differently so from minute to minute. So everybody has a process of their own,
they take turns, and a ratio is one of neighbours: of each round first, then the median over the rounds. Models whose samples are
no digits train on random numbers of that shape. Lines of progress say how many minutes are left; a process may need some
gigabytes of memory.
"""

import time
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from .contestants import CONTESTANTS
from .models import MODELS
from .processes import data_folder, run
from .results import Part, Results, main, minutes_left, parser
from .summary import overview, race_tables
from .tables import Table
from .worker import Job


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Run it and fill the part "race" of the results. settings: the options, by name."""
    results.begin("race", settings)
    begin = time.monotonic()
    with data_folder() as folder:
        for done, model in enumerate(settings["models"]):
            if done:
                console.print(
                    f"{done} of {len(settings['models'])} models, {minutes_left(begin, done, len(settings['models']))}"
                )
            jobs = {name: _job(name, model, settings, folder) for name in settings["contestants"]}
            for round_number in range(settings["cold_rounds"]):
                for name, job in _able(jobs, results):
                    caches = folder / f"caches-{name}-{model}-{round_number}"  # the last ones serve the warm rounds
                    measured = run(job._replace(task="start"), caches)
                    record = {"contestant": name, "model": model, "kind": "cold", "round": round_number}
                    _tell(results.add("race", record | {"samples": job.samples} | measured), console)
            for round_number in range(settings["rounds"]):
                for name, job in _able(jobs, results):
                    measured = run(job, folder / f"caches-{name}-{model}-{settings['cold_rounds'] - 1}")
                    record = {"contestant": name, "model": model, "kind": "warm", "round": round_number}
                    _tell(results.add("race", record | {"samples": job.samples} | measured), console)


def _job(name: str, model: str, settings: dict[str, Any], folder: Path) -> Job:
    samples = min(settings["samples"], CONTESTANTS[name].sample or settings["samples"])
    return Job(name, model, "race", str(folder), samples, settings["threads"], settings["epochs"])


def _able(jobs: dict[str, Job], results: Results) -> Iterable[tuple[str, Job]]:
    """Those that have not yet failed on this model."""
    for name, job in jobs.items():
        records = results.parts["race"]["records"]
        if not any("problem" in r and (r["contestant"], r["model"]) == (name, job.model) for r in records):
            yield name, job


def _tell(record: dict[str, Any], console: Console) -> None:
    """One line of progress."""
    if "problem" in record:
        text = record["problem"]
    elif record["kind"] == "cold":
        text = f"{record['start_to_first_step']:.1f} s to the end of the first step"
    else:
        text = f"{record['epoch']:.2f} s for {record['samples']:,} samples, accuracy {100 * record['accuracy']:.1f} %"
    title = CONTESTANTS[record["contestant"]].title
    console.print(f"{record['model']}, {record['kind']} {record['round'] + 1}: {title}: {text}")


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    result.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    result.add_argument("--rounds", type=int, default=3, help="how often each has its turn (default: 3)")
    result.add_argument("--cold-rounds", type=int, default=1, help="turns with empty caches, at least 1 (default: 1)")
    result.add_argument("--epochs", type=int, default=1, help="timed in a turn, after a warm-up (default: 1)")
    result.add_argument("--samples", type=int, default=60_000, help="to train on (default: 60000)")
    return result


def tables(parts: dict[str, Any]) -> list[Table]:
    """minidl beside the fastest other, then two tables for each model."""
    return [overview(parts["race"])] + [
        table for model in parts["race"]["settings"]["models"] for table in race_tables(parts["race"], model)
    ]


PART = Part("race", options(), {"samples": 2_000, "rounds": 1}, measure, tables)

if __name__ == "__main__":
    main(PART)
