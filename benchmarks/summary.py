"""From the records of the race to its figures: medians, ratios round by round, and what was measured on a sample scaled up."""

import math
import statistics
from collections.abc import Collection, Iterable
from typing import Any

from .contestants import BASELINES, CONTESTANTS
from .models import MODELS
from .tables import Table, approximate, number, span

MEGABYTE = 1e6
OWN = ("minidl", "reference")  # contestants of this repository
MEDIANS = ("startup", "start_to_first_step", "evaluation", "peak_memory", "fit_memory", "accuracy")


def figures(part: dict[str, Any], model: str, contestant: str) -> dict[str, Any]:
    """What the race says of a contestant and a model; seconds and bytes.

    {"problem": text} where it did not take part. Otherwise the medians over the rounds, the cold ones as "cold_…", and:
    scaled: whether it trained on a sample. epoch and start_to_first_epoch: scaled up to all samples. epochs: by round. ratios: of
    the epochs, to that of the fastest of BASELINES in the same round, by round. ratio: their median; None without any.
    """
    records = [r for r in part["records"] if r["model"] == model and r["contestant"] == contestant]
    problem = next((r["problem"] for r in records if "problem" in r), None)
    if problem is not None:
        return {"problem": problem}
    cold, warm = ([r for r in records if r["kind"] == kind] for kind in ("cold", "warm"))
    if not warm:
        return {"problem": "not measured"}
    factor = part["settings"]["samples"] / warm[0]["samples"]
    first_epoch = statistics.median(r["start_to_first_epoch"] + r["epoch"] * (factor - 1) for r in warm)
    epochs = {r["round"]: r["epoch"] * factor for r in warm}
    fastest = fastest_by_round(part, model, BASELINES)
    ratios = {n: seconds / fastest[n][0] for n, seconds in epochs.items() if n in fastest}
    return {
        "scaled": factor > 1,
        "samples": warm[0]["samples"],
        "epoch": statistics.median(epochs.values()),
        "epochs": epochs,
        "start_to_first_epoch": first_epoch,
        "ratio": statistics.median(ratios.values()) if ratios else None,
        "ratios": ratios,
        "compilation": statistics.median(r["build"] + r["first_step"] for r in warm),
        "latency": {n: statistics.median(r["latency"][n] for r in warm) for n in warm[0]["latency"]},
        **{name: statistics.median(r[name] for r in warm) for name in MEDIANS},
        **({"cold_start_to_first_step": statistics.median(r["start_to_first_step"] for r in cold)} if cold else {}),
        **({"cold_compilation": statistics.median(r["build"] + r["first_step"] for r in cold)} if cold else {}),
    }


def fastest_by_round(part: dict[str, Any], model: str, contestants: Collection[str]) -> dict[int, tuple[float, str]]:
    """(seconds of an epoch, the contestant) of the fastest of these in each round."""
    found: dict[int, tuple[float, str]] = {}
    for r in part["records"]:
        if (r["model"], r["kind"]) == (model, "warm") and r["contestant"] in contestants and "problem" not in r:
            seconds = r["epoch"] * part["settings"]["samples"] / r["samples"]
            found[r["round"]] = min(found.get(r["round"], (math.inf, "")), (seconds, r["contestant"]))
    return found


def overview(part: dict[str, Any]) -> Table:
    """minidl beside the fastest of all others, model by model."""
    settings = part["settings"]
    others = [name for name in settings["contestants"] if name not in OWN]
    rows = []
    for model in settings["models"]:
        fastest = fastest_by_round(part, model, others)
        ours = figures(part, model, "minidl").get("epochs", {})
        ratios = [seconds / fastest[n][0] for n, seconds in ours.items() if n in fastest]
        names = " or ".join(dict.fromkeys(CONTESTANTS[name].title for _, name in fastest.values())) or "–"
        seconds = (median(ours.values()), median(value for value, _ in fastest.values()), median(ratios))
        rows.append((MODELS[model].title, *map(number, seconds), span(ratios), names))
    header = ("", "minidl, s an epoch", "the fastest other, s", "minidl ÷ it", "least–most", "who that is")
    return Table("minidl beside the fastest of all others, in the same round", header, rows)


def median(values: Iterable[float]) -> float | None:
    """None where there are no values."""
    found = list(values)
    return statistics.median(found) if found else None


def ranking(part: dict[str, Any], model: str) -> list[tuple[str, dict[str, Any]]]:
    """The contestants that were chosen with their figures, in the order in which they are listed."""
    return [(name, figures(part, model, name)) for name in CONTESTANTS if name in part["settings"]["contestants"]]


def race_tables(part: dict[str, Any], model: str) -> list[Table]:
    """Training, and what comes before and after it, for one model."""
    settings = part["settings"]
    title = f"{MODELS[model].title}, batches of {MODELS[model].batch_size}"
    rows, other, notes = [], [], []
    for name, found in ranking(part, model):
        title_of = CONTESTANTS[name].title
        if "problem" in found:
            rows.append((title_of, *["–"] * 10))
            other.append((title_of, *["–"] * 7))
            notes.append(f"{title_of}: {found['problem']}")
            continue
        scaled = found["scaled"]
        rows.append(
            (
                title_of,
                approximate(number(found["epoch"]), scaled),
                approximate(span(found["epochs"].values()), scaled),
                approximate(number(found["ratio"]), scaled),
                approximate(span(found["ratios"].values()), scaled),
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
        "least–most",
        "÷ PyTorch at its best",
        "least–most",
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
