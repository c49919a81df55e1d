"""From the records of the race to its figures: medians, ratios round by round, and what was measured on a sample scaled up."""

import statistics
from typing import Any

from .contestants import BASELINE, CONTESTANTS
from .models import MODELS
from .tables import Table, approximate, number

MEGABYTE = 1e6
MEDIANS = ("startup", "start_to_first_step", "evaluation", "peak_memory", "fit_memory", "accuracy")


def figures(part: dict[str, Any], model: str, contestant: str) -> dict[str, Any]:
    """What the race says of a contestant and a model; seconds and bytes.

    {"problem": text} where it did not take part. Otherwise the medians over the rounds, the cold ones as "cold_…", and:
    scaled: whether it trained on a sample. epoch and start_to_first_epoch: scaled up to all samples. ratio: of the epochs,
    to the baseline's of the same round, the median; None without a baseline.
    """
    records = [r for r in part["records"] if r["model"] == model and r["contestant"] == contestant]
    problem = next((r["problem"] for r in records if "problem" in r), None)
    if problem is not None:
        return {"problem": problem}
    cold, warm = ([r for r in records if r["kind"] == kind] for kind in ("cold", "warm"))
    if not warm:
        return {"problem": "not measured"}
    factor = part["settings"]["samples"] / warm[0]["samples"]
    epoch = statistics.median(r["epoch"] for r in warm) * factor
    first_epoch = statistics.median(r["start_to_first_epoch"] + r["epoch"] * (factor - 1) for r in warm)
    ratios = [
        r["epoch"] * factor / other["epoch"]
        for r in warm
        for other in part["records"]
        if (other["model"], other["contestant"], other["kind"]) == (model, BASELINE, "warm")
        and other["round"] == r["round"]
        and "problem" not in other
    ]
    return {
        "scaled": factor > 1,
        "samples": warm[0]["samples"],
        "epoch": epoch,
        "start_to_first_epoch": first_epoch,
        "ratio": statistics.median(ratios) if ratios else None,
        "compilation": statistics.median(r["build"] + r["first_step"] for r in warm),
        "latency": {n: statistics.median(r["latency"][n] for r in warm) for n in warm[0]["latency"]},
        **{name: statistics.median(r[name] for r in warm) for name in MEDIANS},
        **({"cold_start_to_first_step": statistics.median(r["start_to_first_step"] for r in cold)} if cold else {}),
        **({"cold_compilation": statistics.median(r["build"] + r["first_step"] for r in cold)} if cold else {}),
    }


def ranking(part: dict[str, Any], model: str) -> list[tuple[str, dict[str, Any]]]:
    """The contestants that were chosen with their figures, in the order in which they are listed."""
    return [(name, figures(part, model, name)) for name in CONTESTANTS if name in part["settings"]["contestants"]]


def race_tables(part: dict[str, Any], model: str) -> list[Table]:
    """Training, and what comes before and after it, for one model."""
    settings = part["settings"]
    title = f"{MODELS[model].title}, batches of {MODELS[model].batch_size}"
    base = CONTESTANTS[BASELINE].title
    rows, other, notes = [], [], []
    for name, found in ranking(part, model):
        title_of = CONTESTANTS[name].title
        if "problem" in found:
            rows.append((title_of, *["–"] * 8))
            other.append((title_of, *["–"] * 7))
            notes.append(f"{title_of}: {found['problem']}")
            continue
        scaled = found["scaled"]
        rows.append(
            (
                title_of,
                approximate(number(found["epoch"]), scaled),
                approximate(number(found["ratio"]), scaled),
                approximate(number(found["start_to_first_epoch"]), scaled),
                number(found.get("cold_start_to_first_step")),
                number(found["start_to_first_step"]),
                number(found.get("cold_compilation")),
                number(found["compilation"]),
                number(found["startup"]),
            )
        )
        other.append(
            (
                title_of,
                approximate(f"{100 * found['accuracy']:.2f}", scaled),
                number(found["evaluation"]),
                *(number(1000 * seconds) for seconds in found["latency"].values()),
                number(found["peak_memory"] / MEGABYTE),
                number(found["fit_memory"] / MEGABYTE),
            )
        )
        if scaled:
            notes.append(
                f"~ {title_of} trained on {found['samples']:,} samples; its times are scaled up to {settings['samples']:,}, "
                "its accuracy and its memory are not."
            )
    header = (
        "",
        "s an epoch",
        f"÷ {base}",
        "start to first epoch, s",
        "start to first step, cold, s",
        "… warm, s",
        "build and first step, cold, s",
        "… warm, s",
        "of it import, warm, s",
    )
    sizes = [f"predict {n}, ms" for n in ("1", "32", "1,000")]
    after = ("", "test accuracy, %", "evaluate 10,000, s", *sizes, "peak memory, MB", "added by training, MB")
    return [
        Table(f"{title}: training on {settings['samples']:,} samples", header, rows, tuple(notes)),
        Table(f"{title}: after it", after, other),
    ]
