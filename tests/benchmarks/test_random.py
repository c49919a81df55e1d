"""From the records of drawn networks to ratios, their mean, and the names of those where minidl is slower."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import page, random
from benchmarks.charts import draw
from benchmarks.drawing import model_named
from benchmarks.flops import training_flops

SECONDS = {  # by network and contestant, round by round
    "conv-1-0": {"minidl": (1.0, 3.0, 2.0), "torch": (4.0, 4.0, 4.0), "torch_channels_last": (5.0, 3.0, 8.0)},
    "conv-1-1": {"minidl": (2.0, 2.0, 2.0), "torch": (1.0, 1.0, 1.0)},
}


@pytest.fixture
def part() -> dict[str, Any]:
    records: list[dict[str, Any]] = [
        {"kind": "conv", "network": network, "contestant": name, "round": n, "seconds": seconds * 1e-6}
        for network, contestants in SECONDS.items()
        for name, rounds in contestants.items()
        for n, seconds in enumerate(rounds)
    ]
    crash = {"kind": "conv", "network": "conv-1-1", "contestant": "torch_channels_last", "round": 0}
    records.append({**crash, "problem": "crashed with SIGSEGV: no message"})
    contestants = ["minidl", "torch", "torch_channels_last", "numpy"]
    settings = {"seed": 1, "kinds": ["conv"], "contestants": contestants, "threads": 2}
    return {"machine": {"processor": "an abacus"}, "settings": settings, "records": records}


def test_a_ratio_is_to_the_fastest_other_of_the_same_round(part: dict[str, Any]) -> None:
    found = random.figures(part, "conv-1-0")
    assert found["ratios"] == pytest.approx({0: 0.25, 1: 1.0, 2: 0.5})
    assert found["ratio"] == pytest.approx(0.5)
    assert found["best"] == "torch"


def test_of_two_rounds_the_geometric_mean_counts(part: dict[str, Any]) -> None:
    """½ and 2 make 1, not 1¼; of three, the one in the middle."""
    part["records"] = [r for r in part["records"] if r["round"] < 2]
    found = random.figures(part, "conv-1-0")
    assert found["ratio"] == pytest.approx(0.5)  # of 0.25 and 1
    assert found["each"]["torch"] == pytest.approx((0.25 * 0.75) ** 0.5)
    assert random.median_ratio([2.0, 0.5]) == pytest.approx(1)
    assert random.median_ratio([8.0, 0.5, 3.0]) == pytest.approx(3)


def test_the_worst_is_first_and_named_and_crashes_are_said(part: dict[str, Any]) -> None:
    table = random.network_table(part, "conv")
    slow = model_named("conv-1-1").title
    assert table.header[0] == "filters/window/strides/padding"
    assert table.rows[0][:5] == (slow, "2.00", "2.00–2.00", "128", "PyTorch")
    assert table.rows[0][5:] == ("2.00", "1.00", "–")  # NumPy has no column here
    # √(0.5 · 2) = 1; by round √(0.25 · 2), √(1 · 2) and √(0.5 · 2)
    assert table.notes[0].startswith("Geometric mean 1.00 (of single rounds 0.71–1.41), worst 2.00, best 0.50.")
    assert table.notes[0].endswith(f"Slower in 1 of 2: {slow} (2.00)")
    # PyTorch: the medians of 1/4, 3/4 and 2/4, and of 2; channels last: of 1/5, 3/3 and 2/8
    assert table.notes[1] == "To PyTorch alone: geometric mean 1.00, worst 2.00."
    assert table.notes[2] == "To PyTorch, channels last alone: geometric mean 0.25, worst 0.25."
    assert table.notes[3] == f"PyTorch, channels last, {slow}: crashed with SIGSEGV: no message"


def test_the_page_has_the_picture(part: dict[str, Any], tmp_path: Path) -> None:
    files = draw({"random": part}, tmp_path)
    assert files == {"random": "random.svg"}
    text = page.text({"random": part}, files, {})
    assert "(benchmarks/random.svg)" in text
    assert "## Networks that nobody tuned for" in text


def test_a_pass_is_about_as_much_work_for_every_network() -> None:
    for number in range(40):
        model = model_named(f"conv-6-{number}")
        batches, rest = divmod(random.samples_of(model, 20), model.batch_size)
        assert rest == 0
        assert 2 <= batches <= 20
        work = batches * model.batch_size * training_flops(model)
        assert work < 1.3 * random.PASS_FLOPS or batches == 2
