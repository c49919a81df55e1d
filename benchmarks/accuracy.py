"""How well the models learn: their test error after 10 epochs, and the time to a test accuracy.

    python -m benchmarks.accuracy

The first is of the tutorial's three models in minidl, at batch 200. One run proves nothing at 1 % of 10,000 images, where the
sampling error is 0.1 points: look at the mean. The second is of the CNN, in minidl and in PyTorch.
"""

import statistics
from argparse import ArgumentParser
from typing import Any

from rich.console import Console

from .contestants import BASELINE, CONTESTANTS
from .models import MODELS, OF_DIGITS
from .processes import data_folder, run
from .results import Part, Results, main, parser
from .tables import Table, number
from .worker import Job

TARGETS = (0.97, 0.98, 0.99)  # of the test images
RACED = "cnn"


def measure(results: Results, settings: dict[str, Any], console: Console) -> None:
    """Fill the part "accuracy": records of the kinds "error", "cold" and "curve"."""
    results.begin("accuracy", settings)
    samples, threads = settings["samples"], settings["threads"]
    with data_folder() as folder:
        for model in settings["models"]:
            for seed in range(settings["error_seeds"]):
                job = Job("minidl", model, "accuracy", str(folder), samples, threads, settings["epochs"], seed=seed)
                measured = run(job, folder / "caches-error")
                record = {"kind": "error", "model": model, "seed": seed, "contestant": "minidl"}
                results.add("accuracy", record | measured)
                text = measured.get("problem") or f"{100 * (1 - measured['accuracy']):.2f} % test error"
                console.print(f"{MODELS[model].title}, seed {seed}: {text}")
        for name in settings["contestants"]:
            job = Job(name, RACED, "start", str(folder), samples, threads)
            record = {"kind": "cold", "model": RACED, "contestant": name}
            results.add("accuracy", record | run(job, folder / f"caches-{name}"))
        for seed in range(settings["seeds"]):
            for name in settings["contestants"]:
                job = Job(name, RACED, "time_to_accuracy", str(folder), samples, threads, settings["most_epochs"])
                measured = run(job._replace(seed=seed, target=TARGETS[-1]), folder / f"caches-{name}")
                record = {"kind": "curve", "model": RACED, "seed": seed, "contestant": name}
                results.add("accuracy", record | measured)
                text = measured.get("problem") or _curve_text(measured["curve"])
                console.print(f"{MODELS[RACED].title}, seed {seed}: {CONTESTANTS[name].title}: {text}")


def _curve_text(curve: list[list[float]]) -> str:
    seconds, reached = curve[-1]
    return f"{100 * reached:.2f} % after {seconds:.1f} s of training"


def seconds_to(curve: list[list[float]], target: float) -> float | None:
    """Seconds of training until the accuracy first reached the target; None where it never did."""
    return next((seconds for seconds, reached in curve if reached >= target), None)


def error_table(part: dict[str, Any]) -> Table:
    """The test error of each model, mean over the seeds."""
    rows = []
    for model in part["settings"]["models"]:
        found = [r for r in part["records"] if r["kind"] == "error" and r["model"] == model and "problem" not in r]
        errors = [100 * (1 - r["accuracy"]) for r in found]
        texts = (f"{statistics.mean(errors):.2f}", f"{min(errors):.2f}", f"{max(errors):.2f}") if errors else ("–",) * 3
        rows.append((MODELS[model].title, *texts, str(len(errors))))
    header = ("", "test error, mean, %", "least", "most", "seeds")
    settings = part["settings"]
    return Table(f"minidl: after {settings['epochs']} epochs of {settings['samples']:,} samples", header, rows)


def time_table(part: dict[str, Any]) -> Table:
    """Seconds of training to each target, mean over the seeds."""
    rows, notes = [], []
    for name in part["settings"]["contestants"]:
        title = CONTESTANTS[name].title
        mine = [r for r in part["records"] if r["contestant"] == name and r["kind"] in ("cold", "curve")]
        notes += sorted({f"{title}: {r['problem']}" for r in mine if "problem" in r})
        mine = [r for r in mine if "problem" not in r]
        curves = [r["curve"] for r in mine if r["kind"] == "curve"]
        cold = next((r["start_to_first_step"] for r in mine if r["kind"] == "cold"), None)
        warm: list[str] = []
        from_nothing: list[str] = []
        for target in TARGETS:
            seconds = [found for curve in curves if (found := seconds_to(curve, target)) is not None]
            mean = statistics.mean(seconds) if seconds else None
            share = f" ({len(seconds)} of {len(curves)})" if len(seconds) < len(curves) else ""
            warm.append(number(mean) + share)
            from_nothing.append(number(mean + cold if mean is not None and cold is not None else None) + share)
        rows.append((title, *warm, *from_nothing, str(len(curves))))
    percent = [f"{100 * target:.0f} %" for target in TARGETS]
    header = (
        "",
        *(f"to {text}, training, s" for text in percent),
        *(f"to {text}, all, cold, s" for text in percent),
        "seeds",
    )
    notes.append(
        "Seconds of training, the mean of those seeds that arrived (how many, where not all did); looked at after every "
        f"quarter of an epoch for at most {part['settings']['most_epochs']} epochs. Evaluation is not counted. All, cold: "
        "with the time from the start of a process with empty caches to the end of its first step in front."
    )
    return Table(f"{MODELS[RACED].title}: time to a test accuracy", header, rows, tuple(notes))


def tables(parts: dict[str, Any]) -> list[Table]:
    """The test errors, and the times."""
    return [error_table(parts["accuracy"]), time_table(parts["accuracy"])]


def options() -> ArgumentParser:
    """The command line's."""
    result = parser(__doc__)
    result.add_argument("--models", nargs="+", choices=OF_DIGITS, default=["mlp", "cnn", "larger_cnn"])
    result.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=["minidl", BASELINE])
    result.add_argument("--epochs", type=int, default=10, help="before the test error (default: 10)")
    result.add_argument("--error-seeds", type=int, default=3, help="of the test error, from 0 on (default: 3)")
    result.add_argument("--seeds", type=int, default=5, help="of the time to an accuracy, from 0 on (default: 5)")
    result.add_argument("--most-epochs", type=int, default=12, help="where an accuracy is never reached (default: 12)")
    result.add_argument("--samples", type=int, default=60_000, help="to train on (default: 60000)")
    return result


QUICK = {"samples": 2_000, "epochs": 1, "error_seeds": 1, "seeds": 1, "most_epochs": 1}
PART = Part("accuracy", options(), QUICK, measure, tables)

if __name__ == "__main__":
    main(PART)
