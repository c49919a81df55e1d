"""The page about errors: what a run records, and what the tables make of the runs."""

import json
import math
import statistics

import pytest

from benchmarks import recipes
from benchmarks.flops import training_flops
from benchmarks.models import MODELS
from minidl import Sequential
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Flatten, MaxPooling2D, RandomAffine


def result(recipe="best", seed=0, wrong=(1,), **others):
    machine = {"processor": "one", "load average before": "0.1"}
    made = {
        "recipe": recipe,
        "seed": seed,
        "epochs": 3,
        "samples": 60_000,
        "threads": 2,
        "seconds": 60.0,
        "machine": machine,
    }
    made |= {"cpu_seconds": 120.0, "parameters": 1234, "tflop": 2.0, "wrong": {str(i): 3 for i in wrong}}
    return made | others


def test_the_count_of_arithmetic_by_hand():
    """As tests/benchmarks/test_flops.py has it for the same network."""
    model = Sequential([RandomAffine(0.1), Conv2D(32, 5), MaxPooling2D(), Flatten(), Dense(128), Dense(10)])
    model.build((28, 28, 1))
    assert recipes.training_flops(model) == 2 * 921_600 + 3 * 1_179_648 + 3 * 2_560


def test_errors_in_percent():
    found = result(wrong=[947, 1, 2])
    assert recipes.error(found) == 0.03
    assert recipes.error(found, undoubted=True) == pytest.approx(100 * 2 / 9985)


def test_the_interval_is_students():
    values = [0.30, 0.34, 0.35]
    half = 4.303 * statistics.stdev(values) / math.sqrt(3)
    assert recipes.mean_with_interval(values) == f"0.330 ± {half:.3f}"
    assert recipes.mean_with_interval([0.3]) == "0.300"


def test_a_run_is_recorded_and_the_page_is_made_of_it(tmp_path, monkeypatch, capsys):
    """The sprint on few digits, as a reader would run it: the numbers are those of the digits that it got wrong."""
    monkeypatch.setattr(recipes, "FOLDER", tmp_path / "accuracy")
    monkeypatch.setattr(recipes, "PAGE", tmp_path / "accuracy.md")
    recipes.FOLDER.mkdir()
    found = json.loads(json.dumps(recipes.run("sprint", 1, 1, samples=2000)))
    assert f"{100 - recipes.error(found):.2f}% of the test digits" in capsys.readouterr().out
    _, (_, labels) = mnist.load_data()
    assert all(labels[int(i)] != read for i, read in found["wrong"].items())
    assert (found["recipe"], found["seed"], found["epochs"], found["samples"]) == ("sprint", 1, 1, 2000)
    for seed, wrong in enumerate([[8, 9, 10], [9, 10, 11]]):
        (recipes.FOLDER / f"best-{seed}.json").write_text(json.dumps(result(seed=seed, wrong=wrong)))
    (recipes.FOLDER / "sprint-1.json").write_text(json.dumps(found))
    (recipes.FOLDER / "whole-0.json").write_text(json.dumps(result("whole")))
    recipes.write_page()
    page = recipes.PAGE.read_text(encoding="utf-8")
    assert "| 0.030 ± 0.000 |" in page
    assert "2 of 5 |" in page
    assert "| not run yet |" in page
    assert "](accuracy/wrong.svg)" in page
    assert {path.name for path in recipes.FOLDER.glob("*.svg")} == {"errors.svg", "wrong.svg"}
    chart = (recipes.FOLDER / "errors.svg").read_text(encoding="utf-8")
    assert "<!-- best -->" in chart
    assert "<!-- whole -->" not in chart, "its errors are those of training digits"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("whole", {"RandomAffine", "Dropout"}),
        ("without-dropout", {"RandomAffine"}),
        ("with-normalization", {"RandomAffine", "Dropout", "BatchNormalization"}),
    ],
)
def test_what_a_part_brings_is_asked_of_training_digits(name, parts, tmp_path, monkeypatch, capsys):
    """Of 600 digits, 100 are kept apart; the network has the layers of its parts, and none of those left out."""
    monkeypatch.setattr(recipes, "KEPT", tmp_path)
    found = recipes.run(name, 0, 1, samples=600, epochs=1)
    printed = capsys.readouterr().out
    assert f"Validation error: {len(found['wrong']):.2f}% ({len(found['wrong'])} of 100 images)" in printed
    assert {layer for layer in ("RandomAffine", "Dropout", "BatchNormalization") if layer in printed} == parts
    assert "Beside others" not in printed
    (_, labels), _ = mnist.load_data()
    assert all(labels[500 + i] != read for i, read in found["wrong"].items())
    assert (found["samples"], found["epochs"]) == (500, 1)


def test_the_change_is_that_of_the_same_seeds():
    """Seed 1 without dropout is not run yet: 30 of 10,000 against 10 of seed 0. Without copies there are 10 more with either,
    however much they differ: the interval is that of the change."""
    found = {name: [] for name in recipes.EVERY}
    found["whole"] = [result(wrong=range(10)), result(seed=1, wrong=range(90))]
    found["without-dropout"] = [result(wrong=range(30))]
    found["without-copies"] = [result(wrong=range(20)), result(seed=1, wrong=range(100))]
    rows = {row[0]: row for row in recipes.ablation(found).rows}
    assert rows["without dropout"][:3] == ("without dropout", "0.300", "+0.200")
    assert rows["without copies"][2] == "+0.100 ± 0.000"
    assert rows["the recipe"][2] == "–"
    assert rows["without schedule"][1] == "not run yet"


def test_a_vote_names_the_runs_that_it_is_made_of():
    """Its time is theirs, and so is the load; putting them together takes a second on whatever machine that is."""
    found = {name: [] for name in recipes.EVERY}
    found["best"] = [result()]
    found["ensemble"] = [result("ensemble", threads=1)]
    every = next(table for table in recipes.tables(found) if table.title == "Every run")
    assert [row[-1] for row in every.rows] == ["one, 2 threads, load 0.1", "the runs of best"]


def test_ablation_runs_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    monkeypatch.setattr(recipes, "run", lambda name, seed, threads: result(name, seed))
    (tmp_path / "whole-1.json").write_text("as it was")
    monkeypatch.setattr("sys.argv", ["recipes", "--ablation"])
    recipes.main()
    assert {path.stem for path in tmp_path.iterdir()} == {
        f"{name}-{seed}" for name in recipes.ABLATION for seed in range(3)
    }
    assert (tmp_path / "whole-1.json").read_text() == "as it was"


def test_the_speed_is_that_of_one_run(tmp_path, monkeypatch):
    """An epoch of 30 s beside PyTorch's of 60 s, at 1 TFLOP/s: the ratio, and how many times as long as the products alone."""
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    assert recipes.speed() == []
    record = {
        "model": "mnist_best",
        "kind": "warm",
        "round": 0,
        "samples": 60_000,
        "latency": {"1": 1.0},
        "accuracy": 0.9,
    }
    record |= dict.fromkeys(("start_to_first_epoch", "start_to_first_step", "build", "first_step", "startup"), 1.0)
    record |= {"evaluation": 1.0, "peak_memory": 1, "fit_memory": 1}
    times = zip(recipes.RACED, (30.0, 70.0, 60.0, 65.0), strict=True)
    records = [record | {"contestant": name, "epoch": epoch} for name, epoch in times]
    settings = {"models": ["mnist_best"], "contestants": list(recipes.RACED), "samples": 60_000, "threads": 2}
    rate = {"threads": 2, "matmul": {"2048": 1e12}}
    parts = {"race": {"settings": settings, "records": records}, "limits": {"records": [rate]}}
    for name in ("one", "other"):
        parts["race"]["machine"] = {"processor": name.title()}
        (tmp_path / "speed" / name).mkdir(parents=True)
        (tmp_path / "speed" / name / "results.json").write_text(json.dumps(parts))
    beside, _, distance, *others = recipes.speed()
    assert beside.title == "minidl beside the fastest of all others, in the same round (One)"
    assert [table.title.replace("Other", "One") for table in others] == [t.title for t in recipes.speed()[:3]]
    assert beside.rows[0][1:4] == ("30.0", "60.0", "0.50")
    limit = training_flops(MODELS["mnist_best"]) * 60_000 / 1e12
    assert distance.rows[1] == ("minidl, times the limit", recipes.number(30 / limit))


def test_an_ensemble_comes_after_its_members(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "FOLDER", tmp_path)
    with pytest.raises(SystemExit, match="ensemble puts together the networks of best: run that with --all first"):
        recipes.run("ensemble", 0, 1)


def test_the_committed_page_is_that_of_the_committed_runs():
    found = recipes.results()
    page = recipes.PAGE.read_text(encoding="utf-8")
    for table in recipes.tables(found):
        assert recipes.markdown(table) in page


def test_each_recipes_example_is_there():
    for recipe in recipes.EVERY.values():
        assert (recipes.ROOT / "examples" / f"{recipe.example}.py").exists()
