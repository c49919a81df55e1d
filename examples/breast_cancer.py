"""Malignant or benign? A table of numbers, two classes, and what the accuracy hides.

You learn to classify the rows of a table: columns of very different sizes are brought to one scale, one output with a sigmoid is
the probability of one of two classes, and binary_crossentropy is its loss. You also learn to look further than the accuracy: a
tumour that is missed is worse than a false alarm. So the same network is trained twice, the second time with errors on
malignant tumours counting ten times, and you see what that gains and what it costs. A network without a hidden
layer (logistic regression) comes first, because a network should be compared with the simplest one that could do.

The table (Street, Wolberg and Mangasarian 1993) comes with scikit-learn: 569 tumours, 30 measurements of each.

    python examples/breast_cancer.py
    python examples/breast_cancer.py --weight 50        how far it goes
    python examples/breast_cancer.py --seed 1           another split: what of this was chance?
"""

import argparse
import importlib.util

import numpy as np

import minidl
from minidl.layers import Dense, Input

parser = argparse.ArgumentParser(description="Binary classification of a table that comes with scikit-learn.")
parser.add_argument("--epochs", type=int, default=30, help="passes over the table (default: 30)")
parser.add_argument("--batch-size", type=int, default=16, help="rows per step (default: 16)")
parser.add_argument(
    "--seed", type=int, default=0, help="determines initial weights, shuffling and the split (default: 0)"
)
parser.add_argument(
    "--weight", type=float, default=10, help="how much an error on a malignant tumour counts (default: 10)"
)
args = parser.parse_args()
if importlib.util.find_spec("sklearn") is None:
    parser.error("the table comes with scikit-learn: pip install 'minidl[examples]'")

from sklearn.datasets import load_breast_cancer  # noqa: E402 (it is there)

x, benign = load_breast_cancer(return_X_y=True)
y = 1 - benign  # 1 is what is looked for: malignant

# Every third tumour is for the test, after shuffling. Mean and deviation are those of the training rows: the test rows must not
# tell anything before the test.
order = np.random.default_rng(args.seed).permutation(len(x))
x, y = x[order], y[order]
test = np.arange(len(x)) % 3 == 0
mean, deviation = x[~test].mean(axis=0), x[~test].std(axis=0)
x = (x - mean) / deviation
x_train, y_train, x_test, y_test = x[~test], y[~test], x[test], y[test]
print(
    f"{len(x_train)} tumours to train on, {y_train.sum()} of them malignant; {len(x_test)} to test, {y_test.sum()} malignant\n"
)


def trained(hidden, class_weight=None):
    """A network with these hidden layers, trained."""
    model = minidl.Sequential([Input((30,)), *hidden, Dense(1, activation="sigmoid")], seed=args.seed)
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=args.epochs, batch_size=args.batch_size, class_weight=class_weight, verbose=0)
    return model


def report(name, model):
    """Print the errors of both kinds on the test rows."""
    predicted = model.predict(x_test, verbose=0)[:, 0] > 0.5
    missed, alarms = np.sum(~predicted & (y_test == 1)), np.sum(predicted & (y_test == 0))
    error = 100 * np.mean(predicted != y_test)
    print(f"{name:38} {error:6.2f}% {missed:8} {alarms:13}")


print(f"{'':38} {'error':>7} {'missed':>8} {'false alarms':>13}")
print(f"{'always benign':38} {100 * y_test.mean():6.2f}% {y_test.sum():8} {0:13}")
report("no hidden layer", trained([]))
report("16 hidden units", trained([Dense(16, activation="relu")]))
model = trained([Dense(16, activation="relu")], class_weight={0: 1, 1: args.weight})
report(f"the same, malignant counts {args.weight:g} times", model)

probability = model.predict(x_test, verbose=0)[:, 0]
print("\nThe test tumours that it is least sure of: the probability that it is malignant, and what it is")
for i in np.argsort(np.abs(probability - 0.5))[:5]:
    print(f"  {probability[i]:.2f}  {'malignant' if y_test[i] else 'benign'}")
