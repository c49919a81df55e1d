"""How ill in a year? A regression, a loss in the units of the target, and whether a network is worth it at all.

You learn to predict a number: one output without an activation, the mean squared error as the loss, the mean absolute error to
read. The target is scaled for the training and scaled back for reading. The table is small, so one split would prove little:
each of five parts is the test once (cross-validation), and early stopping, on a part of the training rows, says when to end. And
you learn to be sober: with 442 rows, least squares, a formula of one line, does about as well as a network.

The table (Efron, Hastie, Johnstone and Tibshirani 2004) comes with scikit-learn: 442 diabetics, ten measurements of each, and how
far the disease had progressed after a year.

    python examples/diabetes.py
    python examples/diabetes.py --units 200     a larger network: does it help?
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.callbacks import EarlyStopping
from minidl.layers import Dense, Input

parser = argparse.ArgumentParser(description="Regression on a table that comes with scikit-learn.")
parser.add_argument("--epochs", type=int, default=200, help="passes over the table, at most (default: 200)")
parser.add_argument("--batch-size", type=int, default=16, help="rows per step (default: 16)")
parser.add_argument(
    "--seed", type=int, default=0, help="determines initial weights, shuffling and the parts (default: 0)"
)
parser.add_argument("--units", type=int, default=16, help="hidden units (default: 16)")
args = parser.parse_args()
if importlib.util.find_spec("sklearn") is None:
    parser.error("the table comes with scikit-learn: pip install 'minidl[examples]'")

from sklearn.datasets import load_diabetes  # noqa: E402 (it is there)

x, y = load_diabetes(return_X_y=True, scaled=False)
order = np.random.default_rng(args.seed).permutation(len(x))
x, y = x[order], y[order]
part = np.arange(len(x)) % 5


def by_mean(x_train, y_train, x_test):
    """Knows the target's mean, and nothing else."""
    return np.full(len(x_test), y_train.mean())


def by_least_squares(x_train, y_train, x_test):
    """The plane that is nearest to the training rows."""
    weights, *_ = np.linalg.lstsq(np.column_stack([x_train, np.ones(len(x_train))]), y_train)
    return x_test @ weights[:-1] + weights[-1]


def by_network(x_train, y_train, x_test):
    """A network with one hidden layer, stopped when it no longer learns."""
    mean, deviation = y_train.mean(), y_train.std()
    model = minidl.Sequential([Input((10,)), Dense(args.units, activation="relu"), Dense(1)], seed=args.seed)
    model.compile(optimizer="adam", loss="mean_squared_error")
    model.fit(
        x_train,
        (y_train - mean) / deviation,
        epochs=args.epochs,
        batch_size=args.batch_size,
        validation_split=0.2,
        callbacks=[EarlyStopping(patience=10, restore_best_weights=True)],
        verbose=0,
    )
    return model.predict(x_test, verbose=0)[:, 0] * deviation + mean


print(f"The target: from {y.min():.0f} to {y.max():.0f}, {y.mean():.0f} in the mean\n")
print(f"{'':16}{'mean absolute error':>20}    in each part")
for name, method in (("the mean", by_mean), ("least squares", by_least_squares), ("a network", by_network)):
    errors = []
    for k in range(5):
        test = part == k
        mean, deviation = x[~test].mean(axis=0), x[~test].std(axis=0)
        scaled = (x - mean) / deviation
        errors.append(np.abs(method(scaled[~test], y[~test], scaled[test]) - y[test]).mean())
    print(f"{name:16}{np.mean(errors):20.2f}    {'  '.join(f'{error:.1f}' for error in errors)}")
