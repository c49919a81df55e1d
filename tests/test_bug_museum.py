"""Every bug in the museum is found by its check, which says what is wrong, and the correct part beside it is not accused."""

import functools
import importlib.util
import inspect
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.layers import Dense
from minidl.optimizers import Adam

SCRIPT = Path(__file__).parent.parent / "examples" / "bug_museum.py"


def load_museum():
    spec = importlib.util.spec_from_file_location("bug_museum", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bug_museum"] = module  # where inspect looks for the code of a class
    spec.loader.exec_module(module)
    return module


museum = load_museum()
ask = museum.verdicts
every_exhibit = pytest.mark.parametrize("name", museum.EXHIBITS)

MASK_MISSING = "x: it lets through what should be 0: is a mask (of a ReLU, a pool or a dropout) not applied?"
MASK_WRONG = "x: it is 0 where it should not be: is a mask (of a ReLU, a pool or a dropout) missing or misplaced?"
OTHER_PLACES = "x: the right numbers are in the wrong places: is an index, an offset or the padding wrong?"
TIMES_SIX = "y_pred: it is 6 times too large, the number of samples: mean or sum over the batch?"
# What the check has to say of each bug: the array that is wrong, and the hint where there is one.
SAYS = {
    "dropout-without-mask": ["x[0, 0]: the gradient says", "the slope is 0 (", MASK_MISSING],
    "dropout-overwrites-dy": ["backward changes its argument dy: it must work on a copy."],
    "dropout-scales-twice": ["outside training, 0 of 1,000 ones become 0, and their mean becomes 0.50."],
    "dropout-in-evaluation": ["outside training, ", "of 1,000 ones become 0, and their mean becomes"],
    "dropout-same-mask": ["different masks in 200 forwards: 1; each unit was dropped 0 to 200 times."],
    "pool-ignores-padding": ["x[", OTHER_PLACES],
    "pool-without-stride": ["forward gives [[6.0, 7.0], [10.0, 11.0]], by hand it is [[6, 8], [14, 16]]."],
    "pool-sample-as-row": ["x[", "entries are wrong)"],
    "pool-pads-with-zero": ["forward gives [[0.0, 0.0], [0.0, 0.0]], by hand it is [[-1, -3], [-9, -11]]."],
    "pool-gradient-to-padding": ["x[", "the gradient says 0, the slope is", MASK_WRONG],
    "pool-ties-all-win": ["x: it is 4 times what it should be, everywhere"],
    "elu-precedence": ["x[", "the gradient says -0, the slope is", MASK_WRONG],
    "softmax-passes-dy": ["x[", "(15 of 15 entries are wrong)", "x: each entry's part in the other outputs is missing"],
    "softmax-overflows": ["forward gives [nan, 0.0], by hand it is [1, 0]."],
    "sigmoid-overwrites-cache": ["backward changes its cache"],
    "dense-clips-error": [
        f"{name}: {words}"
        for name in ("x", "kernel", "bias")
        for words in ("twice the dy does not give twice the gradient", "it does not grow with dy: is dy clipped")
    ],
    "skip-adds-into-dy": ["backward changes its argument dy"],
    "conv-swaps-rows": ["x[", "entries are wrong)"],
    "conv-disconnected": ["x[", "x: it is 0 everywhere: was the gradient computed, and passed on?"],
    "conv-stride-left-out": ["x[", "entries are wrong)", OTHER_PLACES],
    "conv-wrong-index": ["x[", "entries are wrong)", OTHER_PLACES],
    "groups-mixed": [
        "kernel[",
        "(18 of 18 entries are wrong)",
        "kernel: dy is taken 3 places off along axis 1: is an offset wrong, or are groups in the wrong order?",
    ],
    "batch-norm-without-mean": [
        "x[",
        "(20 of 20 entries are wrong)",
        "x: what is wrong in it is the same all along axis 0: is a mean, or a sum, over it wrong or left out?",
    ],
    "batch-norm-in-evaluation": ["outside training, a sample gives [", "among others and [0. 0. 0. 0.] alone."],
    "average-pool-lost": ["x: it is 0 everywhere"],
    "embedding-rows-that-repeat": ["table[", 'table: only the last of its terms counts: is it "=" for "+="?'],
    "softmax-diagonal": ["x: each entry's part in the other outputs is missing: they are coupled"],
    "lstm-slope-of-a-gate": ["kernel[", "x["],
    "crossentropy-without-mean": ["y_pred[", "(24 of 24 entries are wrong)", TIMES_SIX],
    "squared-error-without-mean": ["y_pred[", "(24 of 24 entries are wrong)", TIMES_SIX],
    # (1 - beta_1) / (1 - beta_1 ** 2) = 1.9, its square root for beta_2: 1.9 / sqrt(1.999) = 1.34; in the end
    # sqrt(1 - beta_2) / (1 - beta_1) = sqrt(0.001) / 0.1 = 0.32.
    "adam-without-power": ["1.00 at step 1, 1.34 at step 2", "0.32 at step 5,000"],
    # At the first step it should divide by 0.1 and multiply by sqrt(0.001), and does the opposite: 0.1² / 0.001 = 10.
    "adam-multiplies": ["10.00 at step 1", "1.01 at step 5,000"],
    "adam-starts-at-zero": ["nan at step 1"],
    "shuffle-same-order": ["different orders in 5 epochs: 1."],
}


def make(name, which):
    shown = museum.EXHIBITS[name]
    return getattr(shown, which)(**shown.settings)


@functools.cache
def verdicts(name):
    """What the checks say of an exhibit, asked once: of its faulty part, its correct one, and what a blind check says."""
    return ask(museum.EXHIBITS[name])


@every_exhibit
def test_the_bug_is_found(name):
    found, _, _ = verdicts(name)
    assert not found.passed
    for words in SAYS[name]:
        assert words in found.says
        assert words in found.report


@every_exhibit
def test_the_correct_part_is_not_accused(name):
    _, found, _ = verdicts(name)
    assert found.passed, found.report


def test_the_correct_arrays_are_not_accused_with_the_wrong_ones():
    """Only dx of the convolution is wrong, not the gradients of its parameters."""
    says = verdicts("conv-swaps-rows")[0].says
    assert "kernel" not in says
    assert "bias" not in says


@pytest.mark.parametrize("name", [name for name, shown in museum.EXHIBITS.items() if shown.blind])
def test_what_is_said_not_to_find_it_does_not(name):
    _, _, found = verdicts(name)
    assert found.passed, found.report


@pytest.mark.parametrize("name", [name for name in museum.EXHIBITS if name.startswith("adam")])
def test_a_gradient_check_does_not_see_the_optimizer(name):
    model = minidl.Sequential([Dense(3, activation="tanh", input_shape=(4,)), Dense(2)], dtype="float64", seed=0)
    model.compile(optimizer=make(name, "faulty"), loss="mse")
    random = np.random.default_rng(0)
    assert minidl.gradcheck(model, random.normal(size=(5, 4)), random.normal(size=(5, 2))).passed


def test_the_tiny_correct_parts():
    """Those that the library does not have, against other formulas."""
    elu, _ = museum.Elu().forward(np.array([[-2.0, 0.0, 3.0]]))
    np.testing.assert_allclose(elu, [[math.exp(-2) - 1, 0, 3]], rtol=1e-14)

    skip = museum.Skip()
    skip.params = {"kernel": np.array([[1.0, 2.0], [3.0, 4.0]])}
    np.testing.assert_array_equal(skip.forward(np.array([[10.0, 1.0]]))[0], [[10 + 13, 1 + 24]])

    ours, library = {"w": np.ones(3)}, {"w": np.ones(3)}
    adams = museum.CorrectedAdam(), Adam()
    for gradient in np.random.default_rng(0).normal(size=(50, 3)):
        adams[0].step(ours, {"w": gradient.copy()})
        adams[1].step(library, {"w": gradient.copy()})
    np.testing.assert_allclose(ours["w"], library["w"], rtol=1e-14)

    orders = [museum.Shuffler().order(50, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)


@every_exhibit
def test_the_label_beside_it(name):
    """One line on what is wrong; a part that differs from the correct one in little more than that."""
    shown = museum.EXHIBITS[name]
    assert shown.name == name == name.lower()
    assert re.fullmatch(r"[A-Z].{30,125}\.", shown.wrong)
    assert issubclass(shown.faulty, shown.correct)
    code = inspect.getsource(shown.faulty)
    assert code.count("right: ") == 1
    assert len(code[code.index("class ") :].splitlines()) <= 20


def test_nothing_is_missing():
    assert set(SAYS) == set(museum.EXHIBITS)
    libraries = {"numpy-ml", "npdl", "tinynn", "ML-From-Scratch", "neuralnetlib", "ConvNetJS", "thinc", "practice"}
    libraries |= {"neural-fortran", "Kulbear/deep-learning-coursera", "neon", "PyTorch", "mlpack", "TinyTorch"}
    libraries |= {"nn-zero-to-hero", "libnd4j", "rnn_lstm_from_scratch"}
    assert {shown.seen_at.partition(",")[0] for shown in museum.EXHIBITS.values()} == libraries


def test_what_a_learner_sees():
    outcome, good = museum.Outcome, museum.Outcome(0.9)
    assert museum.in_words(outcome(0.0, "the loss is nan"), good) == "it stops: NaN"
    assert museum.in_words(outcome(0.1), good) == "it learns nothing"
    assert museum.in_words(outcome(0.895), good) == "it learns as well"
    assert museum.in_words(outcome(0.85), good) == "5.0 points worse"
    assert museum.in_words(outcome(0.92), good) == "2.0 points better"
    assert museum.in_words(outcome(0.1), outcome(0.1)) == "it learns as well"


# ------------------------------------------------------------------------------------------------------------- the script


@pytest.fixture
def run(monkeypatch, capsys, threads_as_before):
    """run(arguments…): what the script prints; in this process, and with what the checks have said already."""

    def call(*arguments):
        with monkeypatch.context() as patch:
            patch.setenv("MPLBACKEND", "Agg")
            patch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
            patch.setattr(museum, "verdicts", lambda shown: verdicts(shown.name))
            museum.train.cache_clear()  # what it has trained in another call, it is to train again
            museum.main()
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return call


def as_a_reader(*arguments):
    """What the script prints in a process of its own. A warning is an error, as in all tests."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    environment.pop("NUMBA_DISABLE_JIT", None)  # readers have the kernels compiled
    command = [sys.executable, "-W", "error", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def rows(output):
    """The table's rows by the name of the exhibit, each as its cells, of one line each."""
    table = {}
    for block in re.split(r"^[├└┡].*$", output, flags=re.MULTILINE)[1:-1]:
        lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in block.splitlines() if "│" in line]
        (name, *_), *_ = cells = list(zip(*lines, strict=True))
        table[name] = [" ".join(filter(None, cell)) for cell in cells]
    return table


def test_the_tour_without_training(run):
    output = run("--no-training")
    table = rows(output)
    assert list(table) == list(museum.EXHIBITS)
    for name, (_, wrong, found_by, says) in table.items():
        shown = museum.EXHIBITS[name]
        assert wrong == shown.wrong
        assert found_by.startswith(shown.check.kind)
        assert ("not by" in found_by) == bool(shown.blind)
        assert all(words in says for words in SAYS[name])
    assert f"{len(table)} of {len(table)} bugs were found; 0 of the correct parts were accused." in output
    assert "accuracy" not in output


def test_the_tour_with_training(run, tmp_path, monkeypatch):
    """On a few of the digits: some of the exhibits are slow."""
    train, (x_test, y_test) = museum.digits()
    monkeypatch.setattr(museum, "digits", lambda: (train, (x_test[:100], y_test[:100])))
    picture = tmp_path / "museum.png"
    output = run("--samples", 40, "--epochs", 1, "--threads", 2, "--plot", picture)
    assert output.startswith("Trained on 40 digits (epochs: 1, seed: 0), tested on 10,000 others.")
    table = rows(output)
    assert list(table) == list(museum.EXHIBITS)
    for name, (_, _, accuracy, *_) in table.items():
        assert re.match(r"(stopped|\d+\.\d %) \(\d+\.\d %\) ", accuracy)
        assert accuracy.startswith("stopped") == (name in {"softmax-overflows", "adam-starts-at-zero"})
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_in_a_process_of_its_own(tmp_path):
    picture = tmp_path / "museum.png"
    short = ("--exhibit", "adam-multiplies", "--samples", 100, "--epochs", 1, "--plot", picture)
    output = as_a_reader(*short)
    assert output.startswith("Trained on 100 digits (epochs: 1, seed: 0), tested on 10,000 others.")
    assert "reference steps: the faulty one fails\n" in output
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_one_exhibit_trained(run):
    """The same numbers again, with another number of threads; others with another seed."""
    short = ("--exhibit", "adam-multiplies", "--samples", 100, "--epochs", 2)
    first, again, other = run(*short, "--threads", 1), run(*short, "--threads", 2), run(*short, "--seed", 1)
    assert first == again
    assert "class AdamMultiplies(CorrectedAdam):" in first
    assert "class CorrectedAdam(Adam):" in first
    (numbers,) = re.findall(r"Accuracy after training: (\d+\.\d) %, of the correct one (\d+\.\d) %: ", first)
    assert numbers not in re.findall(r"Accuracy after training: (\d+\.\d) %, of the correct one (\d+\.\d) %: ", other)
    assert "reference steps: the faulty one fails\n\nthe length of a step, of what it should be, is 10.00 at" in first
    assert "reference steps: the correct one passes\n" in first


def test_one_exhibit_with_the_report_of_gradcheck(run):
    output = run("--exhibit", "dropout-without-mask", "--no-training")
    assert "class DropoutWithoutMask(Dropout):" in output
    assert "def backward(self, dy: Array, cache: RandomKey | None)" in output  # the library's, beside it
    assert "gradcheck DropoutWithoutMask: FAILED" in output
    assert "gradcheck Dropout: passed" in output
    assert MASK_MISSING in output

    output = run("--exhibit", "conv-swaps-rows", "--no-training")
    assert "gradcheck of square images: the faulty one passes; it is blind to the bug" in output
    assert output.count("FAILED") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--exhibit", "nothing"), "invalid choice: 'nothing'"),
        (("--no-training", "--plot", "museum.png"), "--plot draws what was trained"),
    ],
)
def test_refused(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["bug_museum.py", *arguments])
    with pytest.raises(SystemExit):
        museum.main()
    assert message in capsys.readouterr().err
