"""Every example runs for a moment, as a reader would run it, and says what is true."""

import itertools
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from minidl import Sequential
from minidl.callbacks import BackupAndRestore
from minidl.datasets import mnist
from minidl.layers import RandomAffine
from minidl.models import load_model
from minidl.ops.random import RandomKey

EXAMPLES = Path(__file__).parent.parent / "examples"
QUICK = ("--samples", "2000", "--epochs", "1", "--batch-size", "50")  # 40 steps
CHANCE = 90  # percent of errors that guessing makes


# Without the compiler this would take minutes.
pytestmark = [
    pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="readers have the kernels compiled"),
    pytest.mark.usefixtures("threads_as_before"),
]


@pytest.fixture
def run(monkeypatch, capsys):
    """run(name, arguments…): what the example prints. It runs in this process, which has the library loaded already."""

    def call(name: str, *arguments: object) -> str:
        script = str(EXAMPLES / f"{name}.py")
        monkeypatch.setenv("MPLBACKEND", "Agg")
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(script, run_name="__main__")
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return call


def as_a_reader(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own, where a warning is an error, as it is in all tests."""
    environment = {**os.environ, "MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=300, check=False)


def number_after(text: str, output: str) -> float:
    """The number that follows the text, which the output holds exactly once."""
    (found,) = re.findall(re.escape(text) + r"\s*([-+.\de]+)", output)
    return float(found)


def assert_is_png(path: Path) -> None:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 5000  # a drawing, not an empty page


def test_every_example_is_run_by_a_test():
    tests = "".join(path.read_text(encoding="utf-8") for path in EXAMPLES.parent.glob("tests/**/test_*.py"))
    examples = sorted(path.stem for path in EXAMPLES.glob("*.py"))
    assert [name for name in examples if not re.search(rf"\b{name}\b", tests)] == []


def test_mnist_distributed(run):
    """Alone; tests/distribution runs it by mpiexec, too."""
    output = run("mnist_distributed", *QUICK)
    assert 0 < number_after("Test error:", output.replace("%", "")) < CHANCE
    assert re.search(r"Fingerprint of the weights on 1 rank: [0-9a-f]{16}\n$", output)


def test_search_settings():
    done = as_a_reader("search_settings", *QUICK, "--trials", "3", "--jobs", "2")
    assert done.stderr == ""
    accuracies = [float(found) for found in re.findall(r"validation accuracy ([\d.]+)  \{'units'", done.stdout)]
    assert len(accuracies) == 3
    assert accuracies == sorted(accuracies, reverse=True)
    assert 0 < number_after("Test error of the best:", done.stdout.replace("%", "")) < CHANCE


@pytest.mark.parametrize(
    ("name", "parameters"), [("mnist_mlp", "623,290"), ("mnist_cnn", "592,074"), ("mnist_cnn_large", "59,933")]
)
def test_mnist(name, parameters, tmp_path, run):
    output = run(name, *QUICK, "--plot", tmp_path / "curves.png")
    assert f"Total params: {parameters} (" in output
    assert "Training on 2,000 digits, testing on 10,000 others." in output
    # The number is that of the epoch's validation, which saw the same digits.
    error = number_after("Test error:", output)
    assert error < CHANCE / 2
    assert error == pytest.approx(100 * (1 - number_after("val_accuracy:", output)), abs=0.0051)
    assert_is_png(tmp_path / "curves.png")


def test_the_best(tmp_path, run):
    """Two networks that vote; the second call finds them trained, and says the same."""
    arguments = (
        "--samples",
        "600",
        "--epochs",
        "1",
        "--batch-size",
        "50",
        "--ensemble",
        "2",
        "--without",
        "copies",
        "--folder",
        tmp_path / "best",
    )
    output = run("mnist_best", *arguments)
    error = number_after("Test error:", output)
    assert error < CHANCE
    assert f"{error:5.2f}  → these 2 networks, 1 epochs" in output
    listed = [float(line.split()[0]) for line in output.partition("test error in %:")[2].strip().splitlines()]
    assert listed == sorted(listed)
    assert number_after("labels are in doubt:", output) <= error
    again = run("mnist_best", *arguments)
    assert again.count("trained before") == 2
    assert number_after("Test error:", again) == error
    assert sorted(path.suffix for path in (tmp_path / "best").iterdir()) == [
        ".json",
        ".json",
        ".safetensors",
        ".safetensors",
    ]
    assert re.findall(r".* CPU minutes", again) == re.findall(r".* CPU minutes", output)  # those of the training


def test_the_best_asks_about_copies(tmp_path, run):
    """As wrong as the mean over digits and eight turned, moved, zoomed and slanted versions of them, not as the digits alone."""
    output = run(
        "mnist_best", "--samples", "2400", "--validate", "--epochs", "1", "--folder", tmp_path, "--batch-size", 50
    )
    (digits, labels), _ = mnist.load_data()
    digits, labels = digits[2000:2400], labels[2000:2400]
    model = load_model(next(tmp_path.glob("*.safetensors")))
    warp = RandomAffine(7.5 / 360, 0.045, 0.06, 0.075, fill_mode="constant")
    versions = [digits[..., None]]
    versions += [warp.forward(versions[0], training=True, rng=RandomKey(0, i).layer(0))[0] for i in range(8)]
    answers = [model.predict(version, verbose=0) for version in versions]
    wrong = [int((answer.argmax(axis=1) != labels).sum()) for answer in (sum(answers), answers[0])]
    assert wrong[0] != wrong[1]
    assert f"({wrong[0]} of 400 images)" in output


def test_the_best_without_its_parts(tmp_path, run):
    """Nothing is left but the layers that learn, and the training digits are cut in two."""
    left_out = ("augmentation", "dropout", "smoothing", "schedule", "averages", "copies")
    arguments = ("--samples", "600", "--epochs", "1", "--validate", "--folder", tmp_path, "--without", *left_out)
    output = run("mnist_best", *arguments)
    assert "of 100 images" in output
    assert not any(name in output for name in ("RandomAffine", "BatchNormalization", "Dropout"))
    model = load_model(next(tmp_path.glob("*.safetensors")))
    assert model.optimizer.use_ema is False
    assert model.loss.label_smoothing == 0
    assert model.optimizer.learning_rate == 0.001


def test_the_best_of_other_data(tmp_path, run):
    """Files as Fashion-MNIST is distributed: three classes of images of another size."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 90), ("t10k", 30)):
        for kind, values in (
            ("images-idx3", rng.integers(0, 256, (count, 20, 22))),
            ("labels-idx1", np.arange(count) % 3),
        ):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (tmp_path / f"{split}-{kind}-ubyte").write_bytes(head + values.astype(np.uint8).tobytes())
    for label in (0, 1):  # two data sets in folders of one name are two
        folder = tmp_path / str(label) / "raw"
        folder.mkdir(parents=True)
        for path in tmp_path.glob("*-ubyte"):
            shutil.copy(path, folder)
        labels = folder / "train-labels-idx1-ubyte"
        labels.write_bytes(labels.read_bytes()[:-1] + bytes([label]))
        output = run("mnist_best", "--data", folder, "--epochs", "1", "--folder", tmp_path / "kept")
        assert re.search(r"Test error: [\d.]+% \(\d+ of 30 images\)", output)
        assert "Beside others" not in output
        assert "trained before" not in output
    assert "trained before" in run("mnist_best", "--data", folder, "--epochs", "1", "--folder", tmp_path / "kept")


@pytest.mark.parametrize("name", ["mnist_sprint", "mnist_small"])
def test_recipes(name, run, tmp_path):
    output = run(name, *QUICK, *(("--folder", tmp_path) if name == "mnist_small" else ()))
    error = number_after("Test error:", output)
    assert error < 0.75 * CHANCE
    if name == "mnist_small":
        assert "9,906 parameters." in output
        assert f"{error:5.2f}  → this network, 9,906 parameters, the last of 1 epochs" in output


@pytest.fixture
def stopped_and_resumed(run, tmp_path, monkeypatch, capsys):
    """call(example, error, patches…): the example twice, the first time with each (object, name, value) set, so that it ends in
    the error. Returns what the second prints; its validation error is that of a run that nothing stopped."""

    def call(name, error, *patches):
        arguments = ("--samples", "400", "--epochs", "2", "--validate", "--folder")
        expected = number_after("Validation error:", run(name, *arguments, tmp_path / "whole").replace("%", ""))
        with monkeypatch.context() as patch:
            for patched in patches:
                patch.setattr(*patched)
            with pytest.raises(error):
                run(name, *arguments, tmp_path / "stopped")
        capsys.readouterr()  # of the one that was stopped
        output = run(name, *arguments, tmp_path / "stopped")
        assert number_after("Validation error:", output.replace("%", "")) == expected
        return output

    return call


@pytest.mark.parametrize("name", ["mnist_best", "mnist_small"])
def test_a_training_that_was_killed_knows_what_it_took(name, stopped_and_resumed):
    """Killed in its last epoch, it repeats that one alone, ends up the same, and counts the time of both."""

    class Killed(BaseException):
        pass

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise Killed

    clock = ("time.process_time", itertools.count(0, 600).__next__)  # an epoch takes ten minutes
    output = stopped_and_resumed(name, Killed, (BackupAndRestore, "on_epoch_begin", killed), clock)
    assert "Epoch 1/2" not in output
    assert 10 <= float(re.search(r"([\d.]+) CPU minutes", output)[1]) < 12


@pytest.mark.parametrize(("name", "where"), [("mnist_best", "save"), ("mnist_small", "predict")])
def test_a_training_that_was_stopped_after_its_last_epoch_is_not_lost(name, where, stopped_and_resumed, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    assert "Epoch" not in stopped_and_resumed(name, KeyboardInterrupt, (Sequential, where, stopped))
    assert list(tmp_path.rglob("backup*")) == []


@pytest.mark.parametrize("digits", ["1", "3"])
def test_show_augmentation(tmp_path, run, digits):
    assert f"Wrote {tmp_path / 'a.png'}" in run("show_augmentation", "--digits", digits, "--plot", tmp_path / "a.png")
    assert_is_png(tmp_path / "a.png")


def test_a_process_of_its_own():
    """As it is typed: nothing on the error output, not even a warning."""
    done = as_a_reader("mnist_mlp", "--samples", "200", "--epochs", "1", "--seed", "7")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Total params: 623,290 (" in done.stdout
    assert number_after("Test error:", done.stdout) < CHANCE


def test_seed_and_threads(run):
    """The seed decides the result, the number of threads does not."""
    short = ("--samples", "200", "--epochs", "1", "--batch-size", "50", "--seed")
    first, second, third = (
        re.findall(r"accuracy: .*|Test error: .*", run("mnist_mlp", *short, *rest))
        for rest in (("7", "--threads", "1"), ("7", "--threads", "2"), ("8", "--threads", "2"))
    )
    assert len(first) == 2
    assert first == second != third


def test_show_digits_in_the_terminal(run):
    output = run("show_digits", *QUICK)
    error, wrong = re.findall(r"Test error: ([\d.]+)% \(([\d,]+) of 10,000 digits\)", output)[0]
    assert float(error) == pytest.approx(int(wrong.replace(",", "")) / 100)
    assert float(error) < CHANCE / 2

    assert "▀" in output
    assert max(len(line) for line in output.splitlines() if "█" in line) <= 80
    labels = re.findall(r"^(?: +\d){4}$", output, re.MULTILINE)
    assert " ".join(labels).split() == list("50419213")  # as everybody knows MNIST to begin

    mistakes = re.findall(r"(\d), read as (\d) \((\d+)%\)", output)
    assert len(mistakes) == 8
    assert all(truth != prediction for truth, prediction, _ in mistakes)
    sureness = [int(percent) for _, _, percent in mistakes]
    assert sureness == sorted(sureness, reverse=True)
    assert sureness[0] > 50


def test_show_digits_as_a_picture(tmp_path, run):
    output = run("show_digits", *QUICK, "--plot", tmp_path / "digits.png")
    assert "▀" not in output
    assert_is_png(tmp_path / "digits.png")


@pytest.mark.parametrize("samples", [4, 40])  # by one worker, and cut in shards
def test_one_layer_by_hand(samples, tmp_path, run):
    output = run("one_layer_by_hand", "--batch-size", samples, "--epochs", 3, "--seed", 5, "--plot", tmp_path / "a.png")
    assert f"{samples} samples of 3 features, 3 classes" in output

    # The loss, twice, and 3 x 3 + 3 gradients, each three times.
    by_hand, library = re.findall(r"^loss +(\S+) +(\S+)$", output, re.MULTILINE)[0]
    assert by_hand == library
    assert float(by_hand) > 0
    gradients = re.findall(r"^(?:kernel|bias)\[.*\] +(\S+) +(\S+) +(\S+)$", output, re.MULTILINE)
    assert len(gradients) == 12
    for by_hand, numeric, library in gradients:
        assert float(by_hand) == pytest.approx(float(numeric), abs=2e-9)
        assert float(by_hand) == pytest.approx(float(library), abs=2e-9)
    assert any(abs(float(by_hand)) > 0.01 for by_hand, _, _ in gradients)
    assert number_after("between by hand and numeric:", output) < 1e-8
    assert number_after("between by hand and library:", output) < 1e-14

    # Gradient descent: the loss falls with every step, alike in both.
    descent = re.findall(r"^(\d+) +(\S+) +(\S+)$", output.partition("Gradient descent")[2], re.MULTILINE)
    assert [int(step) for step, _, _ in descent] == [0, 1, 2, 3]
    losses = [float(by_hand) for _, by_hand, _ in descent]
    assert losses == pytest.approx([float(library) for _, _, library in descent], abs=2e-9)
    assert all(after < before for before, after in itertools.pairwise(losses))
    assert number_after("between the weights of both in the end:", output) < 1e-14
    assert_is_png(tmp_path / "a.png")


def test_convolution_by_hand(tmp_path, run):
    output = run("convolution_by_hand", "--seed", 0, "--plot", tmp_path / "flow.png")

    # All matrices: the same numbers to the left and to the right, and not just zeros.
    blocks = re.findall(r"^ +by hand +library\n((?:[ \d.-]+\n)+)", output, re.MULTILINE)
    assert [len(block.splitlines()) for block in blocks] == [4, 4, 2, 2, 4, 4, 3, 3, 6]
    for block in blocks:
        rows = [[float(number) for number in line.split()] for line in block.splitlines()]
        width = len(rows[0]) // 2
        for row in rows:
            assert row[:width] == pytest.approx(row[width:], abs=0.0011)  # the last digit may be rounded differently
        assert any(number != 0 for row in rows for number in row)

    # The case where ReLU stops the gradient is among them: a pool whose winner is 0.
    maps = dict(zip(("z", "y", "pooled", "dpooled", "dy", "dz"), blocks, strict=False))
    z, pooled, dpooled, dy, dz = (
        np.array([line.split() for line in maps[name].splitlines()], float)[
            :, : len(maps[name].split("\n")[0].split()) // 2
        ]
        for name in ("z", "pooled", "dpooled", "dy", "dz")
    )
    assert (pooled == 0).any()
    assert np.sort(dy[dy != 0]).tolist() == np.sort(dpooled.ravel()).tolist()  # the pool loses nothing
    assert np.array_equal(dz, np.where(z > 0, dy, 0))
    assert (dz != 0).sum() < (dy != 0).sum()

    table = output.partition("Greatest difference")[2]
    assert number_after("pooled", table) < 1e-13
    differences = re.findall(r"^(dx|dkernel|dbias) +(\S+) +(\S+)$", table, re.MULTILINE)
    assert [name for name, _, _ in differences] == ["dx", "dkernel", "dbias"]
    for _, from_library, from_numeric in differences:
        assert float(from_library) < 1e-13
        assert float(from_numeric) < 1e-7

    steps = re.findall(r"^\d+ +(\d+\.\d+) +(\d+\.\d+)$", output, re.MULTILINE)
    assert len(steps) == 5
    assert all(by_hand == library for by_hand, library in steps)
    assert float(steps[-1][0]) < 0.5 * float(steps[0][0])
    assert number_after("weights of both in the end:", output) < 1e-13
    assert_is_png(tmp_path / "flow.png")


def test_two_layers_by_hand(tmp_path, run):
    output = run("two_layers_by_hand", "--epochs", 4, "--plot", tmp_path / "graph.png")
    # Worked out on paper: a = (1, −1, 2), so h = (1, 0, 2) and y = 3 + 0 − 1 + 0.5; the target is 2.
    assert re.findall(r"^y +(\S+) +dy +(\S+)$", output, re.MULTILINE) == [("2.50", "1.00")]
    assert re.findall(r"^W1 .* dW1 +(\S+) +(\S+) +(\S+)$", output, re.MULTILINE) == [
        ("3.00", "0.00", "-0.50"),
        ("6.00", "0.00", "-1.00"),
    ]
    assert "= 1 · 3 · 1 · 2 = 6\n" in output
    assert number_after("between by hand and numeric:", output) < 1e-9
    assert number_after("between by hand and library:", output) < 1e-14
    losses = re.findall(r"^\d+ +(\d+\.\d+) +(\d+\.\d+)$", output, re.MULTILINE)
    assert len(losses) == 4
    assert all(by_hand == library for by_hand, library in losses)
    assert all(float(after) < float(before) for (before, _), (after, _) in itertools.pairwise(losses))
    assert number_after("weights of both in the end:", output) < 1e-14
    assert_is_png(tmp_path / "graph.png")


def test_your_own_layer(tmp_path, run):
    output = run("your_own_layer", *QUICK, "--plot", tmp_path / "shapes.png")
    assert "gradcheck Swish: passed" in output
    assert re.findall(r"│ (x|beta) +│ (\d+) +│ (\d+) ", output) == [("x", "96", "96"), ("beta", "3", "3")]  # all proved
    assert number_after("Test error:", output) < CHANCE / 2
    betas = [float(number) for number in output.partition("moved them to\n")[2].splitlines()[0].split()]
    assert len(betas) == 8
    assert all(0 < abs(beta - 1) < 1 for beta in betas)  # each one was trained
    assert_is_png(tmp_path / "shapes.png")


def test_transfer_learning(run):
    short = ("--samples", 1000, "--few", 60, "--epochs", 1, "--few-epochs", 4)
    output = run("transfer_learning", *short)
    assert "learns 0 to 4 from 1,000 digits" in output
    assert "learns 5 to 9 from 60 digits" in output
    counts = re.findall(r"^ (\S+) params: ([\d,]+) ", output, re.MULTILINE)
    assert counts == [
        ("Total", "15,813"),
        ("Trainable", "2,565"),
        ("Non-trainable", "13,248"),
        ("Total", "15,813"),
        ("Trainable", "15,813"),
        ("Non-trainable", "0"),
    ]
    untrained, trained, tuned, scratch = (
        number_after(f"{what}:", output)
        for what in ("new head, untrained", "new head, trained", "all layers, fine-tuned", "from scratch")
    )
    assert tuned < trained < untrained  # each part of the training did something; how much, a moment cannot show
    assert 0 < scratch < CHANCE


def test_breast_cancer(run):
    output = run("breast_cancer", "--epochs", 20)
    assert "379 tumours to train on, " in output
    table = re.findall(r"^(.+?) +([\d.]+)% +(\d+) +(\d+)$", output, re.MULTILINE)
    assert [name for name, *_ in table] == [
        "always benign", "no hidden layer", "16 hidden units", "the same, malignant counts 10 times",
    ]  # fmt: skip
    ill = int(table[0][2])
    for name, error, missed, alarms in table:
        assert float(error) == pytest.approx(100 * (int(missed) + int(alarms)) / 190, abs=0.006), name
        assert int(missed) <= ill
    assert all(float(error) < 20 for _, error, *_ in table[1:])
    assert int(table[3][3]) > int(table[2][3])  # more false alarms: the weight did something
    unsure = [float(number) for number in re.findall(r"^  (0\.\d\d)  (?:malignant|benign)$", output, re.MULTILINE)]
    assert len(unsure) == 5
    assert [abs(number - 0.5) for number in unsure] == sorted(abs(number - 0.5) for number in unsure)


def test_diabetes(run):
    output = run("diabetes", "--epochs", 60)
    assert "The target: from 25 to 346, 152 in the mean" in output
    errors = {}
    for name in ("the mean", "least squares", "a network"):
        mean, *parts = map(float, re.search(rf"^{name} +([\d. ]+)$", output, re.MULTILINE)[1].split())
        assert mean == pytest.approx(sum(parts) / 5, abs=0.06)
        errors[name] = mean
    assert errors["least squares"] < errors["the mean"] - 10
    assert errors["a network"] < errors["the mean"] - 10


def test_least_squares_of_the_diabetes_example_is_scikit_learns(run):
    """An oracle for the yardstick: the same parts, with scikit-learn's regression."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(x))
    x, y, part = x[order], y[order], np.arange(len(x)) % 5
    errors = []
    for k in range(5):
        test = part == k
        fitted = LinearRegression().fit(x[~test], y[~test])
        errors.append(np.abs(fitted.predict(x[test]) - y[test]).mean())
    assert number_after("least squares", run("diabetes", "--epochs", 1)) == pytest.approx(np.mean(errors), abs=0.006)


def test_autoencoder(tmp_path, run):
    short = ("--samples", 600, "--epochs", 2, "--batch-size", 20, "--code", 8)
    output = run("autoencoder", *short, "--plot", tmp_path / "autoencoder.png")
    assert "A digit is 784 pixels, its code 8 numbers." in output
    mean, linear, network = (number_after(name, output) for name in ("mean digit:", "linear code:", "the autoencoder:"))
    assert linear < mean
    assert network < 1.2 * mean  # a moment's training: it draws something like a digit
    assert_is_png(tmp_path / "autoencoder.png")


@pytest.mark.parametrize("name", ["breast_cancer", "diabetes"])
def test_a_table_without_scikit_learn_is_refused_with_the_way_to_get_it(name, monkeypatch, capsys):
    script = str(EXAMPLES / f"{name}.py")
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not there
    monkeypatch.setattr(sys, "argv", [script])
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert "comes with scikit-learn: pip install 'minidl[examples]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mnist_mlp", "one_layer_by_hand", "autoencoder"])
def test_a_plot_without_matplotlib_is_refused_before_the_work(name, tmp_path, monkeypatch, capsys):
    """The extra is optional; who lacks it learns so at once, and how to get it."""
    script = str(EXAMPLES / f"{name}.py")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not there
    monkeypatch.setattr(sys, "argv", [script, "--plot", str(tmp_path / "none.png")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(script, run_name="__main__")
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert "--plot needs matplotlib: pip install 'minidl[plot]'" in printed.err
    assert printed.out == ""
