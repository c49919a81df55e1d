"""How the cost of an epoch grows with the samples, the batch size and the threads.

    python -m benchmarks.growth

The last step in samples is a million images (MNIST again and again) as bytes in a file, mapped into memory, which the model
itself rescales: more than anybody would like to hold as floats.
"""

import os
import statistics
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .contestants import BASELINE, CONTESTANTS
from .limits import peak
from .models import MODELS
from .processes import data_folder, run
from .results import Part, Results, main, parser
from .summary import MEGABYTE
from .tables import Table, number
from .worker import Job


def repeat_images(folder: Path, target: Path, n: int) -> None:
    """train_bytes.npy and train_labels.npy in the target: those of the folder again and again until there are n."""
    x, y = np.load(folder / "train_bytes.npy", mmap_mode="r"), np.load(folder / "train_labels.npy")
    mapped = np.lib.format.open_memmap(target / "train_bytes.npy", "w+", x.dtype, (n, *x.shape[1:]))
    for start in range(0, n, len(x)):
        mapped[start : start + len(x)] = x[: n - start]
    mapped.flush()
    np.save(target / "train_labels.npy", np.resize(y, n))


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plan(folder: Path, million: Path, settings: dict[str, Any]) -> list[tuple[str, Job]]:
    """What to run, for the first contestant: (what is varied, the job)."""
    model, threads = settings["model"], settings["threads"]
    base = Job("", model, "epoch", str(folder), settings["sweep"], threads)
    jobs = [("samples", base._replace(samples=n)) for n in settings["samples"]]
    jobs += [("mapped", base._replace(samples=settings["samples"][-1], images="bytes"))]
    jobs += [("mapped", base._replace(samples=settings["mapped"], images="bytes", data=str(million)))]
    jobs += [("batch", base._replace(batch_size=size)) for size in settings["batch_sizes"]]
    cores = usable_cores()
    counts = sorted({2**power for power in range(cores.bit_length())} | {cores})
    return jobs + [("threads", base._replace(threads=count)) for count in counts]


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "growth"."""
    results.begin("growth", settings)
    with data_folder() as folder:
        million = folder / "million"
        million.mkdir()
        repeat_images(folder, million, settings["mapped"])
        failed: set[str] = set()
        for name in settings["contestants"]:  # fills the caches
            run(Job(name, settings["model"], "start", str(folder), 1_000, settings["threads"]), folder / name)
        for what, job in plan(folder, million, settings):
            rounds = 1 if job.samples == settings["mapped"] else settings["rounds"]
            for round_number in range(rounds):
                for name in settings["contestants"]:
                    if name in failed:
                        continue
                    measured = run(job._replace(contestant=name), folder / name)
                    record = {"contestant": name, "what": what, "round": round_number, "samples": job.samples}
                    record |= {"batch_size": job.batch_size, "threads": job.threads}
                    results.add("growth", record | measured)
                    if "problem" in measured:
                        failed.add(name)
                    text = measured.get("problem") or f"{measured['epoch']:.2f} s"
                    varied = (
                        f"{job.samples} samples, batches of {job.batch_size or 'the usual size'}, {job.threads} threads"
                    )
                    console.print(f"{what}: {varied}: {CONTESTANTS[name].title}: {text}")


def points(part: dict[str, Any], contestant: str, what: str, field: str) -> dict[int, dict[str, float]]:
    """The medians over the rounds of a contestant's records, by the value of the field that was varied."""
    found: dict[int, list[dict[str, Any]]] = {}
    for r in part["records"]:
        if (r["contestant"], r["what"]) == (contestant, what) and "problem" not in r:
            found.setdefault(r[field], []).append(r)
    names = ("epoch", "peak_memory", "fit_memory", "own_memory")
    return {
        value: {name: statistics.median(r[name] for r in records) for name in names if records[0][name] is not None}
        for value, records in sorted(found.items())
    }


def samples_table(part: dict[str, Any]) -> Table:
    """Time and memory by number of samples."""
    settings = part["settings"]
    missing = {r["contestant"]: r["problem"] for r in part["records"] if "problem" in r}
    notes = tuple(f"{CONTESTANTS[name].title}: {text}" for name, text in missing.items())
    rows = []
    for name in settings["contestants"]:
        for what, text in (("samples", "floats in memory"), ("mapped", "bytes in a mapped file")):
            for n, found in points(part, name, what, "samples").items():
                memory = (found.get(kind) for kind in ("peak_memory", "own_memory"))
                cells = (number(found["epoch"]), number(1e6 * found["epoch"] / n))
                sizes = (number(None if size is None else size / MEGABYTE) for size in memory)
                rows.append((f"{CONTESTANTS[name].title}, {text}", f"{n:,}", *cells, *sizes))
    header = ("", "samples", "s an epoch", "µs a sample", "peak memory, MB", "without mapped files, MB")
    explained = "A process's peak counts the pages of a mapped file, which the system takes back when it needs them."
    return Table(f"{MODELS[settings['model']].title}: samples", header, rows, (explained, *notes))


def batch_table(part: dict[str, Any]) -> Table:
    """Seconds by batch size for each contestant, and the ratio to the baseline's."""
    names = part["settings"]["contestants"]
    found = {name: points(part, name, "batch", "batch_size") for name in names}
    values = sorted({value for by_value in found.values() for value in by_value})
    rivals = [name for name in names if name != BASELINE and BASELINE in names]
    rows = []
    for value in values:
        seconds = {name: found[name].get(value, {}).get("epoch") for name in names}
        base = seconds.get(BASELINE)
        ratios = [number(seconds[name] / base if base and seconds[name] else None) for name in rivals]
        rows.append((f"{value:,}", *(number(seconds[name]) for name in names), *ratios))
    header = (
        "batch size",
        *(f"{CONTESTANTS[name].title}, s" for name in names),
        *(f"{CONTESTANTS[name].title} ÷ {CONTESTANTS[BASELINE].title}" for name in rivals),
    )
    return Table(
        f"{MODELS[part['settings']['model']].title}: batch size, {part['settings']['sweep']:,} samples", header, rows
    )


def threads_table(part: dict[str, Any], limits: dict[str, Any] | None) -> Table:
    """Seconds by number of threads, and the gain over one thread beside that of independent matrix products."""
    names = part["settings"]["contestants"]
    found = {name: points(part, name, "threads", "threads") for name in names}
    values = sorted({value for by_value in found.values() for value in by_value})
    rows = []
    for value in values:
        cells = []
        for name in names:
            seconds, one = (found[name].get(count, {}).get("epoch") for count in (value, 1))
            cells += [number(seconds), number(one / seconds if one and seconds else None)]
        most, single = (peak(limits, count) if limits else None for count in (value, 1))
        rows.append((str(value), *cells, number(most / single if most and single else None)))
    columns = [text for name in names for text in (f"{CONTESTANTS[name].title}, s", "gain over 1")]
    header = ("threads", *columns, "gain of matrix products")
    return Table(
        f"{MODELS[part['settings']['model']].title}: threads, {part['settings']['sweep']:,} samples", header, rows
    )


def tables(parts: dict[str, Any]) -> list[Table]:
    """Samples, batch sizes and threads."""
    part = parts["growth"]
    return [samples_table(part), batch_table(part), threads_table(part, parts.get("limits"))]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=["minidl", BASELINE])
    result.add_argument("--model", choices=MODELS, default="cnn")
    result.add_argument("--rounds", type=int, default=2, help="turns of each; the mapped file has one (default: 2)")
    result.add_argument("--samples", type=int, nargs="+", default=[1_000, 10_000, 60_000], help="in memory, as floats")
    result.add_argument("--mapped", type=int, default=1_000_000, help="samples in the file (default: 1000000)")
    result.add_argument("--batch-sizes", type=int, nargs="+", default=[2**power for power in range(4, 12)])
    result.add_argument("--sweep", type=int, default=20_000, help="samples where something else is varied")
    return result


QUICK = {"samples": [500, 1_000], "mapped": 3_000, "batch_sizes": [64, 512], "sweep": 1_000, "rounds": 1}
PART = Part("growth", options(), QUICK, measure, tables)

if __name__ == "__main__":
    main(PART)
