"""From records to tables and the page, with a handful of made-up results."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import benchmarks.results
from benchmarks import accuracy, growth, limits, page, processes, steps, summary
from benchmarks.charts import draw
from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.contestants.minidl import Trainer
from benchmarks.drawing import model_named
from benchmarks.models import MODELS, Conv
from benchmarks.results import Results
from benchmarks.tables import Table, markdown, number
from benchmarks.worker import Job
from minidl import benchmark


def warm(contestant: str, round_number: int, epoch: float, samples: int = 6_000) -> dict[str, Any]:
    return {
        "contestant": contestant,
        "model": "cnn",
        "kind": "warm",
        "round": round_number,
        "samples": samples,
        "startup": 0.5,
        "build": 0.25,
        "first_step": 0.5,
        "start_to_first_step": 1.25,
        "start_to_first_epoch": 1.5 + epoch,
        "epoch": epoch,
        "evaluation": 0.125,
        "latency": {"1": 0.001, "32": 0.002, "1000": 0.003},
        "peak_memory": 300_000_000,
        "fit_memory": 40_000_000,
        "accuracy": 0.9875,
        "versions": {"numpy": "1.2.3"},
    }


def cold(contestant: str) -> dict[str, Any]:
    record = warm(contestant, 0, 1.0)
    return {**record, "kind": "cold", "start_to_first_step": 7.75, "first_step": 5.5}


@pytest.fixture
def parts() -> dict[str, Any]:
    machine = {"processor": "an abacus", "begun": "2026-01-02"}
    records = [
        cold("minidl"),
        cold("torch"),
        *(warm("minidl", r, epoch) for r, epoch in enumerate((1.0, 2.0, 9.0))),
        *(warm("torch", r, epoch) for r, epoch in enumerate((4.0, 4.0, 12.0))),
        warm("reference", 0, 2.0, samples=600),
        {"contestant": "jax", "model": "cnn", "kind": "cold", "round": 0, "problem": "not installed: do this"},
    ]
    settings = {
        "samples": 6_000,
        "contestants": ["minidl", "torch", "jax", "reference"],
        "models": ["cnn"],
        "threads": 2,
    }
    speeds = [
        {"threads": 1, "matmul": {"256": 4e10, "512": 5e10}, "copy": 1e10, "triad": 2e10},
        {"threads": 2, "matmul": {"256": 8e10, "512": 9e10}, "copy": 2e10, "triad": 3e10},
    ]
    return {
        "race": {"machine": machine, "settings": settings, "records": records},
        "limits": {"machine": machine, "settings": {"threads": 2}, "records": speeds},
    }


def test_ratios_are_taken_round_by_round(parts: dict[str, Any]) -> None:
    found = summary.figures(parts["race"], "cnn", "minidl")
    assert found["ratio"] == 0.5  # of 0.25, 0.5 and 0.75; the ratio of the medians is 0.5 too, that of the means is not
    assert found["epoch"] == 2.0
    assert found["cold_start_to_first_step"] == 7.75
    assert found["cold_compilation"] == 5.75


def test_a_sample_is_scaled_up_and_marked(parts: dict[str, Any]) -> None:
    found = summary.figures(parts["race"], "cnn", "reference")
    assert found["scaled"]
    assert found["epoch"] == 20.0
    assert found["start_to_first_epoch"] == 1.5 + 20.0
    assert found["ratio"] == 5.0  # to the first round of the other, the only one that both had
    training, _ = summary.race_tables(parts["race"], "cnn")
    assert training.rows[-1][:5] == ("minidl, reference", "~20.0", "–", "~5.00", "–")
    assert any("600 samples" in note and note.startswith("~") for note in training.notes)


def test_the_base_is_the_fastest_of_pytorch_in_each_round(parts: dict[str, Any]) -> None:
    seconds = (2.0, 8.0, 16.0)  # beside 4, 4 and 12 of the other: the fastest are 2, 4 and 12
    parts["race"]["records"] += [warm("torch_channels_last", r, epoch) for r, epoch in enumerate(seconds)]
    parts["race"]["settings"]["contestants"].append("torch_channels_last")
    assert summary.figures(parts["race"], "cnn", "minidl")["ratios"] == {0: 0.5, 1: 0.5, 2: 0.75}
    (row,) = summary.overview(parts["race"]).rows
    assert row == ("CNN", "2.00", "4.00", "0.50", "0.50–0.75", "PyTorch, channels last or PyTorch")


def test_results_of_each_processor_stay_side_by_side(parts: dict[str, Any], tmp_path: Path) -> None:
    other = {
        "limits": {**parts["limits"], "machine": {"processor": "A Slide-Rule (R), model 2", "begun": "2026-01-02"}}
    }
    page.write(parts, tmp_path)
    page.write(other, tmp_path)
    found = sorted(path.name for path in (tmp_path / "benchmarks").glob("*.json"))
    assert found == ["a-slide-rule-r-model-2.json", "an-abacus.json"]
    text = (tmp_path / "benchmarks.md").read_text()
    assert "[an abacus](benchmarks/an-abacus.json) | 2026-01-02 | 2 |" in text


def test_what_was_not_measured_is_shown_of_another_processor(parts: dict[str, Any], tmp_path: Path) -> None:
    """Of the newest that has it; and a race on one processor is not held against the limit of another."""
    page.write(parts, tmp_path)
    assert "minidl, times the limit" in (tmp_path / "benchmarks.md").read_text()
    page.write({"limits": {**parts["limits"], "machine": {"processor": "a rule", "begun": "2025-01-01"}}}, tmp_path)
    page.write({"limits": {**parts["limits"], "machine": {"processor": "a pen", "begun": "2024-01-01"}}}, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| processor | an abacus (race); a pen (limits) |" in text
    assert "## The race" in text
    assert "times the limit" not in text
    page.write({"race": {**parts["race"], "machine": {"processor": "a pen", "begun": "2024-01-01"}}}, tmp_path)
    assert "| processor | a pen (race); an abacus (limits) |" in (tmp_path / "benchmarks.md").read_text()


def test_who_is_missing_is_a_row_that_says_so(parts: dict[str, Any]) -> None:
    training, after = summary.race_tables(parts["race"], "cnn")
    assert ("Keras on JAX", *["–"] * 10) in training.rows
    assert ("Keras on JAX", *["–"] * 7) in after.rows
    assert "Keras on JAX: not installed: do this" in training.notes


def test_a_contestant_without_its_library_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nobody = Contestant("Nobody", "nobody", ("a_library_that_nobody_has",), "nobody")
    monkeypatch.setitem(CONTESTANTS, "nobody", nobody)
    measured = processes.run(Job("nobody", "cnn", "start", str(tmp_path), 100, 1), tmp_path)
    assert measured == {"problem": "not installed: python -m benchmarks.install nobody"}


def test_a_contestant_that_crashes_gives_its_last_line(tmp_path: Path) -> None:
    measured = processes.run(Job("minidl", "cnn", "start", str(tmp_path / "no_data"), 100, 1), tmp_path)
    assert measured["problem"].startswith("ended with status 1: FileNotFoundError: ")


def test_advice_behind_an_error_is_not_its_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def failed(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        text = "Traceback\n  File\nlib.CompileError: no code for this\n\nTry again with VERBOSE=1."
        return subprocess.CompletedProcess([], 1, "", text)

    monkeypatch.setattr(processes, "interpreter_for", lambda *_: sys.executable)
    monkeypatch.setattr(processes.subprocess, "run", failed)
    measured = processes.run(Job("torch", "cnn", "start", str(tmp_path), 100, 1), tmp_path)
    assert measured == {"problem": "ended with status 1: lib.CompileError: no code for this"}


def test_a_contestant_that_is_killed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def killed(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
        return run([sys.executable, "-c", code], capture_output=True, text=True)

    run = subprocess.run
    monkeypatch.setattr(processes, "interpreter_for", lambda *_: sys.executable)
    monkeypatch.setattr(processes.subprocess, "run", killed)
    measured = processes.run(Job("torch", "cnn", "start", str(tmp_path), 100, 1), tmp_path)
    assert measured == {"problem": "crashed with SIGSEGV: no message"}


def test_a_contestant_that_hangs_is_ended(tmp_path: Path) -> None:
    measured = processes.run(Job("minidl", "cnn", "start", str(tmp_path), 100, 1), tmp_path, timeout=0.01)
    assert measured == {"problem": "did not finish within 0.01 s"}


def test_a_contestant_that_cannot_train_a_model_says_so(tmp_path: Path) -> None:
    measured = processes.run(Job("numpy", "conv-1-0", "start", str(tmp_path), 100, 1), tmp_path)
    assert measured["problem"].startswith("the twenty lines of NumPy have dense layers alone, received Conv(")


def test_the_limit_is_the_arithmetic_at_the_best_matrix_product(parts: dict[str, Any]) -> None:
    table = limits.distance_table(parts["limits"], parts["race"])
    least = 5_389_824 * 6_000 / 9e10
    assert table.rows[0] == ("the limit, s an epoch", number(least))
    assert table.rows[1] == ("minidl, times the limit", number(2.0 / least))
    assert table.rows[3][1] == "–"


def test_the_page_holds_the_numbers(parts: dict[str, Any]) -> None:
    text = page.text(parts, {"race": "race.svg"}, {"an-abacus.json": parts})
    assert "| minidl | 2.00 | 1.00–9.00 | 0.50 | 0.25–0.75 | 3.50 | 7.75 | 1.25 | 5.75 | 0.75 | 0.50 |" in text
    assert "| [an abacus](benchmarks/an-abacus.json) | 2026-01-02 | 2 | 90.0 | 0.50 |" in text
    assert "98.75" in text
    assert "![Seconds an epoch](benchmarks/race.svg)" in text
    assert "| processor | an abacus |" in text
    assert "## Time to accuracy" not in text


def test_the_results_that_are_kept_are_on_the_page() -> None:
    """Nothing else lies in that folder, and every one has a row."""
    machines = {path.name: json.loads(path.read_text()) for path in (page.DOCS / "benchmarks").glob("*.json")}
    rows = page.machines_table(machines).rows
    assert [row[0].partition("(")[2] for row in rows] == [f"benchmarks/{name})" for name in sorted(machines)]


def test_every_machine_beside_the_documentation_can_be_compared_with() -> None:
    """Its file is named by its processor, and its settings are those of today."""
    machines = sorted((page.DOCS / "machines").glob("*"))
    assert machines
    for path in machines:
        found = benchmark.load(str(path))
        assert path.name == page.file_name({"machine": found})
        assert found["settings"] == benchmark.SETTINGS
        assert [record["network"] for record in found["records"][: len(benchmark.NETWORKS)]] == list(benchmark.NETWORKS)


def test_the_same_results_give_the_same_charts(parts: dict[str, Any], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert draw(parts, first) == draw(parts, second) == {"race": "race.svg", "start": "start.svg"}
    assert (first / "race.svg").read_bytes() == (second / "race.svg").read_bytes()


def test_the_gain_of_a_step_is_that_of_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step: 9, 2 and 2 times on the first network, 8 times on the second, so 4 on both. The second does nothing for
    networks without convolutions; and nothing left out takes half as long on the CNN, so less than 2 is noise."""
    first = steps.Step("First", "This.")
    second = steps.Step("Second", "That.", needs=lambda model: any(isinstance(layer, Conv) for layer in model.layers))
    monkeypatch.setattr(steps, "STEPS", (first, second))
    settings = {"seed": 3, "count": 2, "models": ["cnn", "mlp"], "rounds": 3, "threads": 2}
    groups = steps.groups(settings)
    assert list(groups) == ["Random convolutional networks", "Random dense networks", "CNN", "MLP 784–784–10"]
    assert groups["Random dense networks"] == ["dense-3-0", "dense-3-1"]
    times = {"conv-3-0": 2, "conv-3-1": 8, "dense-3-0": 3, "dense-3-1": 3, "cnn": 1.5, "mlp": 5}
    nothing = dict.fromkeys(times, 1) | {"cnn": 0.5}
    records = [
        {"step": step.title, "network": name, "round": n, "seconds": factor * everything, "with_everything": everything}
        for step, found in ((first, times), (second, times), (steps.NOTHING, nothing))
        for name, factor in found.items()
        for n, everything in enumerate((1e-6, 5e-6, 2e-6))
    ]
    records[0]["seconds"] = 9e-6
    part = {"records": records, "settings": settings, "machine": {"processor": "Abacus 9", "begun": "2026-01-02"}}
    assert steps.gain(part, first, ["conv-3-0", "conv-3-1"]) == pytest.approx(4)
    assert steps.gain(part, second, ["mlp"]) is None
    assert steps.noise(part) == pytest.approx(2)
    assert steps.tables({"steps": part})[0].rows == [
        ("First", "4.00", "3.00", "1.50", "5.00"),
        ("Second", "4.00", "–", "1.50", "–"),
        ("Nothing", "1.00", "1.00", "0.50", "1.00"),
    ]
    written = page.performance({"steps": part})
    assert "Measured on Abacus 9, 2 threads, 2026-01-02." in written
    most = "random dense networks **3.00**, MLP 784–784–10 **5.00**"
    assert f"This. random convolutional networks **4.00**, {most} times as long.\n" in written
    assert "That. random convolutional networks **4.00**, CNN 1.50 times as long.\n" in written


@pytest.mark.parametrize("model", ["larger_cnn", "normalized_cnn"])
@pytest.mark.parametrize("step", steps.STEPS, ids=lambda step: step.title)
def test_a_step_left_out_changes_no_result(step: steps.Step, model: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((42, 28, 28, 1), dtype=np.float32), rng.integers(0, 10, 42)

    def trained(options: dict[str, Any]) -> Any:
        trainer = Trainer(MODELS[model], 1, 1, **options)
        trainer.train(x, y, 20)  # and a batch of two
        return trainer.predict(x)

    expected = trained({})
    with step.without():
        np.testing.assert_allclose(trained({"ops": step.ops}), expected, rtol=1e-3, atol=1e-5)


def test_steps_run_on_networks_of_both_kinds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As --quick does: a time for every idea, network and round. Processes of their own would take longer than all of it."""
    monkeypatch.setattr(steps, "pace_alone", steps.pace)
    settings = {"seed": 1, "count": 1, "models": ["tiny_mlp"], "rounds": 1, "threads": 1}
    results = Results(tmp_path)
    steps.measure(results, settings | {"quick": True, "budget": 0.001}, Console(quiet=True))
    records = results.parts["steps"]["records"]
    for network in ("conv-1-0", "dense-1-0", "tiny_mlp"):
        found = [r["step"] for r in records if r["network"] == network]
        assert found == [step.title for step in steps.of_use(network)]
    assert all(r["seconds"] > 0 and r["with_everything"] > 0 for r in records)


def test_a_pace_in_a_process_of_its_own() -> None:
    """Without memory that is kept, which this process does not notice."""
    step = next(step for step in steps.STEPS if step.lasting)
    seconds = steps.pace_alone(step, "tiny_mlp", {"threads": 1, "budget": 0.001}, 3)
    assert 1e-8 < seconds < 1  # a sample; some microseconds


def test_steps_are_left_out_where_they_do_something() -> None:
    """Of the known networks: the MLP has no convolutions, the deep CNN no batch normalization."""
    everything = {step.title for step in (*steps.STEPS, steps.NOTHING)}
    used = {name: {step.title for step in steps.of_use(name)} for name in ("mlp", "deep_cnn", "normalized_cnn")}
    assert everything - used["normalized_cnn"] == {"Dense layers of one or two samples"}
    assert used["normalized_cnn"] - used["deep_cnn"] == {"Normalization in the same step"}
    of_convolutions = {
        "Fewer multiplications for 3 × 3",
        "Blocks of several widths",
        "Neighbouring pixels as one",
        "Two ways to dx",
    }
    assert used["deep_cnn"] - used["mlp"] == of_convolutions | {"A pool in the same step"}


def test_the_time_without_a_step_is_told_from_that_with_everything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever of the two came first."""
    for name in ("pace", "pace_alone"):
        monkeypatch.setattr(steps, name, lambda step, *_: 1.0 if step is steps.NOTHING else 3.0)
    results = Results(tmp_path)
    settings = {"seed": 1, "count": 1, "models": ["normalized_cnn"], "rounds": 2, "quick": True}
    steps.measure(results, settings, Console(quiet=True))
    part = results.parts["steps"]
    for step in steps.of_use("normalized_cnn"):
        assert steps.gain(part, step, ["normalized_cnn"]) == pytest.approx(1 if step is steps.NOTHING else 3)


def test_both_of_a_pair_see_the_same_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A step that NumPy does is timed on a tenth of the batches, and so is everything beside it."""
    asked: dict[str, set[tuple[str, int]]] = {}

    def pace(step: steps.Step, network: str, settings: dict[str, Any], most_batches: int) -> float:
        asked.setdefault(network, set()).add((step.title, most_batches))
        return 1.0

    for name in ("pace", "pace_alone"):
        monkeypatch.setattr(steps, name, pace)
    settings = {"seed": 1, "count": 1, "models": [], "rounds": 1, "quick": False}
    steps.measure(Results(tmp_path), settings, Console(quiet=True))
    slow = next(step.title for step in steps.STEPS if step.ops == "reference")
    for network, (few, many) in {"conv-1-0": (2, 20), "dense-1-0": (20, 200)}.items():
        assert {count for title, count in asked[network] if title == slow} == {few}
        assert {count for title, count in asked[network] if title == "Nothing"} == {few, many}
        assert {count for title, count in asked[network] if title not in (slow, "Nothing")} == {many}


def test_dense_layers_of_one_or_two_samples_are_left_out_of_such_batches_alone() -> None:
    sizes = {MODELS[name].batch_size for name in MODELS}
    of_few = [f"dense-1-{n}" for n in range(40) if model_named(f"dense-1-{n}").batch_size <= 2]
    assert of_few
    assert min(sizes) > 2
    for name in (*of_few, "mlp"):
        used = {step.title for step in steps.of_use(name)}
        assert ("Dense layers of one or two samples" in used) == (name in of_few)


def test_gains_of_threads_are_those_of_neighbours() -> None:
    def record(threads: int, n: int, epoch: float) -> dict[str, Any]:
        rest = {"batch_size": None, "samples": 9, "peak_memory": 1, "fit_memory": 1, "own_memory": None}
        return {"contestant": "minidl", "what": "threads", "threads": threads, "round": n, "epoch": epoch, **rest}

    seconds = {(1, 0): 2.0, (1, 1): 8.0, (1, 2): 3.0, (2, 0): 1.0, (2, 1): 5.0, (2, 2): 2.0}
    records = [record(threads, n, epoch) for (threads, n), epoch in seconds.items()]
    settings = {"contestants": ["minidl"], "model": "cnn", "sweep": 9, "rounds": 3}
    limits = {"records": [{"threads": 1, "matmul": {"256": 5e10}}, {"threads": 2, "matmul": {"256": 8e10}}]}
    table = growth.threads_table({"records": records, "settings": settings}, limits)
    assert table.rows[1] == (
        "2",
        "2.00 (1.00–5.00)",
        "1.60",
        "1.00",
        "1.60",
    )  # of 2, 1.6 and 1.5; the medians' would be 1.5


def test_seconds_to_an_accuracy_are_those_of_the_first_time() -> None:
    curve = [[1.0, 0.96], [2.0, 0.975], [3.0, 0.969]]
    assert accuracy.seconds_to(curve, 0.97) == 2.0
    assert accuracy.seconds_to(curve, 0.98) is None


def test_a_mean_of_the_seeds_that_arrived_says_how_many() -> None:
    """In both columns: of two seeds one comes to 99 %, after 3 s, and 4 s more with the start."""
    records = [
        {"contestant": "minidl", "kind": "cold", "start_to_first_step": 4.0},
        *({"contestant": "minidl", "kind": "curve", "curve": [[1.0, 0.985], [3.0, end]]} for end in (0.99, 0.989)),
    ]
    settings = {"contestants": ["minidl"], "most_epochs": 1}
    (row,) = accuracy.time_table({"records": records, "settings": settings}).rows
    assert row == ("minidl", "1.00", "1.00", "3.00 (1 of 2)", "5.00", "5.00", "7.00 (1 of 2)", "2")


def test_images_are_repeated_until_there_are_enough(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    np.save(tmp_path / "train_bytes.npy", np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1))
    np.save(tmp_path / "train_labels.npy", np.arange(3))
    growth.repeat_images(tmp_path, target, 8)
    for name in ("bytes", "labels"):
        np.testing.assert_array_equal(np.load(target / f"train_{name}.npy").ravel(), [0, 1, 2, 0, 1, 2, 0, 1])


def test_one_file_is_of_one_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is measured: the same part may be measured anew, but not beside one of another processor."""
    first = Results(tmp_path / "here")
    first.begin("race", {})
    first.finish()
    monkeypatch.setattr(benchmarks.results, "describe", lambda: {"processor": "an abacus"})
    second = Results(tmp_path / "here")
    with pytest.raises(SystemExit, match=r"this is an abacus\. Measure into another folder: --output .*here-2$"):
        second.begin("limits", {})
    assert list(second.parts) == ["race"]
    second.begin("race", {})
    assert second.parts["race"]["machine"] == {"processor": "an abacus"}


def test_an_earlier_result_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    first = Results(tmp_path)
    first.begin("race", {"samples": 1})
    first.finish()
    second = Results(tmp_path)
    second.begin("race", {"samples": 2})
    second.add("race", {"contestant": "minidl"})
    assert Results(tmp_path).parts["race"]["settings"] == {"samples": 1}
    assert json.loads(second.unfinished.read_text())["race"]["records"] == [{"contestant": "minidl"}]
    second.finish()
    assert Results(tmp_path).parts["race"]["settings"] == {"samples": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.5, "1,234"), (12.345, "12.3"), (1.5, "1.50"), (0.5, "0.50"), (0.01234, "0.012"), (None, "–")],
)
def test_numbers_have_as_many_digits_as_they_mean(value: float | None, text: str) -> None:
    assert number(value) == text


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert "| a\\|b | 1 |" in markdown(Table("t", ("", "n"), [("a|b", "1")]))
