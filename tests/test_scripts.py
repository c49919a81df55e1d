"""Scripts as Keras users publish them: with ``keras`` replaced by ``minidl`` they run, and learn; or are told what to write.

Each makes its own data, and runs in a folder of its own.
"""

import re
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"
# script → what it prints in the end, and the least (or, where negative, the most) that this number may be.
LEARNS = {
    "autoencoder": ("noise that is left:", -0.6),
    "boston_housing": ("Test MAE:", -2.5),
    "class_weights": ("recall with weights:", 0.6),
    "data_generator": ("accuracy:", 0.95),
    "early_stopping": ("Test accuracy:", 0.85),
    "fashion_mnist": ("Test accuracy:", 0.9),
    "grid_search": ("Best:", 0.95),
    "imdb_bag_of_words": ("accuracy:", 0.85),
    "intermediate_output_sequential": ("largest difference:", -1e-5),
    "iris": ("Test accuracy:", 0.9),
    "kaggle_digits": ("accuracy:", 0.9),
    "kfold": ("mean:", 92),
    "learning_rate_schedule": ("accuracy:", 0.95),
    "own_png": ("This is a", 1),
    "per_class_report": ("accuracy:", 0.88),
    "pima": ("Accuracy:", 72),
    "resume": ("accuracy:", 0.9),
    "saving_callback": ("accuracy:", 0.9),
    "transfer_learning": ("Test accuracy:", 0.8),
    "xor": ("accuracy:", 1.0),
}
# script → what it is told instead.
TOLD = {
    "intermediate_output": (
        "minidl has no Model: it has no graphs. For the output of a layer in the middle use Sequential(model.layers[:k]); for "
        "connections around layers use layers.Residual."
    ),
}


def run(name, monkeypatch, folder):
    """Run the script with ``keras`` replaced by ``minidl``, in this folder."""
    path = SCRIPTS / f"{name}.py"
    source = re.sub(r"\bkeras\b", "minidl", path.read_text(encoding="utf-8"))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    exec(compile(source, path, "exec"), {"__name__": "__main__"})


def test_every_script_is_in_one_table():
    assert sorted([*LEARNS, *TOLD]) == sorted(path.stem for path in SCRIPTS.glob("*.py"))


@pytest.mark.parametrize("name", LEARNS)
def test_the_script_runs_and_learns(name, monkeypatch, tmp_path, capsys):
    run(name, monkeypatch, tmp_path)
    text, bound = LEARNS[name]
    number = float(re.findall(re.escape(text) + r"\s*([-+.\de]+)", capsys.readouterr().out)[-1])
    assert number >= bound if bound > 0 else number <= -bound


@pytest.mark.parametrize("name", TOLD)
def test_the_script_is_told_what_to_write(name, monkeypatch, tmp_path):
    with pytest.raises(ImportError, match="^" + re.escape(TOLD[name])):
        run(name, monkeypatch, tmp_path)
