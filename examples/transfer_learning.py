"""Learn to read 5 to 9 from a few digits, after learning 0 to 4 from many.

You learn what a trained layer is worth. The first layers of a network that reads 0 to 4 have learned to see strokes, and other
digits are made of strokes, too. So these layers are kept, frozen, under a new head, which has only a few digits to learn from;
at the end all layers are unfrozen and trained together in small steps (fine-tuning). For comparison, the same network learns the
same few digits from scratch, in as many epochs: it has to find the strokes as well.

    python examples/transfer_learning.py
    python examples/transfer_learning.py --few 100      fine-tuning hardly helps: too few digits for all layers
    python examples/transfer_learning.py --few 1000     enough to learn strokes from: nothing is gained
"""

import argparse

import minidl
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D, Rescaling
from minidl.optimizers import Adam

parser = argparse.ArgumentParser(description="Transfer what was learned from the digits 0-4 to the digits 5-9.")
parser.add_argument("--epochs", type=int, default=3, help="passes over the digits 0-4 (default: 3)")
parser.add_argument("--batch-size", type=int, default=50, help="digits 0-4 per step (default: 50)")
parser.add_argument("--seed", type=int, default=0, help="determines initial weights and shuffling (default: 0)")
parser.add_argument("--threads", type=int, help="number of threads; no effect on results (default: one per core)")
parser.add_argument("--samples", type=int, default=10_000, help="how many of the digits 0-4 (default: 10000)")
parser.add_argument("--few", type=int, default=300, help="how many of the digits 5-9 (default: 300)")
parser.add_argument("--few-epochs", type=int, default=20, help="passes over these, frozen, then unfrozen (default: 20)")
args = parser.parse_args()
if args.threads is not None:
    minidl.set_num_threads(args.threads)


def only(x, y, low, high):
    """The images of the digits from low to high, with a channel axis, and their labels counted from 0."""
    chosen = (low <= y) & (y <= high)
    return x[chosen][..., None], y[chosen] - low


def strokes():
    """The layers to keep: from pixels to 32 maps of 4 x 4, flattened, in which each place describes its surroundings."""
    return [
        Input((28, 28, 1)),
        Rescaling(1 / 255),
        Conv2D(16, (5, 5), activation="relu"),
        MaxPooling2D(),
        Conv2D(32, (5, 5), activation="relu"),
        MaxPooling2D(),
        Flatten(),
    ]


def compiled(model, learning_rate=0.001):
    model.compile(optimizer=Adam(learning_rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def error(model):
    """The percentage of the test digits 5 to 9 that it misreads."""
    _, accuracy = model.evaluate(x_test_new, y_test_new, verbose=0)
    return 100 * (1 - accuracy)


(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_old, y_old = only(x_train, y_train, 0, 4)
x_old, y_old = x_old[: args.samples], y_old[: args.samples]
x_new, y_new = only(x_train, y_train, 5, 9)
x_new, y_new = x_new[: args.few], y_new[: args.few]
x_test_new, y_test_new = only(x_test, y_test, 5, 9)

print(f"1. A network learns 0 to 4 from {len(x_old):,} digits.\n")
base = minidl.Sequential(strokes(), name="strokes", seed=args.seed)
reader = compiled(
    minidl.Sequential([base, Dense(5, activation="softmax", name="head")], name="zero_to_four", seed=args.seed)
)
reader.fit(x_old, y_old, epochs=args.epochs, batch_size=args.batch_size, validation_data=only(x_test, y_test, 0, 4))

# The base is a model, and a layer of another model as well. It keeps its weights in the new one, which gets a head of its own.
print(f"\n2. Its layers up to the head are frozen; a new head learns 5 to 9 from {len(x_new):,} digits.\n")
base.trainable = False
model = compiled(
    minidl.Sequential([base, Dense(5, activation="softmax", name="head")], name="five_to_nine", seed=args.seed)
)
model.summary()
before = error(model)
few = {"epochs": args.few_epochs, "batch_size": 20, "verbose": 0}
model.fit(x_new, y_new, **few)
frozen = error(model)

# Only now, because the large gradients of an untrained head would have spoiled the layers below it. The steps are small for
# the same reason. Unfreezing takes effect at once; compiling again gives the model a fresh optimizer.
print("\n3. All layers are unfrozen, and trained further in small steps.\n")
base.trainable = True
compiled(model, learning_rate=0.0003)
model.summary()
model.fit(x_new, y_new, **few)
tuned = error(model)

print(f"\n4. The same network learns the same {len(x_new):,} digits from scratch.\n")
scratch = compiled(minidl.Sequential([*strokes(), Dense(5, activation="softmax")], name="scratch", seed=args.seed))
scratch.fit(x_new, y_new, **(few | {"epochs": 2 * args.few_epochs}))

print(f"Test error for 5 to 9, of {len(x_test_new):,} digits")
print(f"  new head, untrained:     {before:6.2f}%")
print(f"  new head, trained:       {frozen:6.2f}%")
print(f"  all layers, fine-tuned:  {tuned:6.2f}%")
print(f"  from scratch:            {error(scratch):6.2f}%")
