"""Try many settings at once, on all cores or on many machines: every trial is a whole training, and a job for joblib.

You learn that a search needs no support from a neural network library: a training is a function from settings to a result, and
tools exist that call functions in parallel. With joblib's default backend the jobs run on this machine's cores. With Dask's they
run on all machines of its cluster, and only the marked line changes. It needs the extra: pip install 'minidl[examples]'.

    python examples/search_settings.py
    python examples/search_settings.py --trials 20 --jobs 4
"""

import argparse

import numpy as np
from joblib import Parallel, delayed

import minidl
from minidl.callbacks import EarlyStopping
from minidl.datasets import mnist
from minidl.layers import Dense, Dropout, Flatten, Input, Rescaling
from minidl.optimizers import Adam

parser = argparse.ArgumentParser(description="Search the settings of a multilayer perceptron with joblib.")
parser.add_argument("--trials", type=int, default=8, help="how many settings are tried (default: 8)")
parser.add_argument("--jobs", type=int, default=-1, help="how many run at once (default: one per core)")
parser.add_argument("--epochs", type=int, default=5, help="most passes over the training digits (default: 5)")
parser.add_argument("--samples", type=int, default=10_000, help="train on only this many digits (default: 10000)")
parser.add_argument("--batch-size", type=int, default=100, help="digits per step (default: 100)")
parser.add_argument("--seed", type=int, default=0, help="determines which settings are tried (default: 0)")
args = parser.parse_args()


def train(settings, x, y):
    """One trial: (the best validation accuracy, the trained model)."""
    minidl.set_num_threads(1)  # the cores are busy with other trials
    model = minidl.Sequential(
        [
            Input((28, 28)),
            Rescaling(1 / 255),
            Flatten(),
            Dense(settings["units"], activation="relu"),
            Dropout(settings["dropout"]),
            Dense(10, activation="softmax"),
        ],
        seed=1,
    )
    model.compile(Adam(settings["learning_rate"]), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        x,
        y,
        epochs=args.epochs,
        batch_size=args.batch_size,
        validation_split=0.2,
        callbacks=[EarlyStopping("val_accuracy", patience=2, restore_best_weights=True)],
        verbose=0,
    )
    return max(history.history["val_accuracy"]), model


(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, y_train = x_train[: args.samples], y_train[: args.samples]
rng = np.random.default_rng(args.seed)
trials = [
    {
        "units": int(rng.choice([64, 128, 256])),
        "dropout": round(float(rng.uniform(0, 0.5)), 2),
        "learning_rate": float(f"{10 ** rng.uniform(-4, -2):.1g}"),
    }
    for _ in range(args.trials)
]

# On a cluster: start Dask's scheduler and workers, connect with dask.distributed.Client("tcp://…:8786"), and write
# with joblib.parallel_config(backend="dask"): around this line.
found = Parallel(n_jobs=args.jobs)(delayed(train)(settings, x_train, y_train) for settings in trials)

# A trained model is pickled on its way back from a job, and can be used at once.
for settings, (accuracy, _) in sorted(zip(trials, found, strict=True), key=lambda trial: -trial[1][0]):
    print(f"validation accuracy {accuracy:.4f}  {settings}")
best = max(found, key=lambda trial: trial[0])[1]
loss, accuracy = best.evaluate(x_test, y_test, verbose=0)
print(f"Test error of the best: {100 * (1 - accuracy):.2f}%")
