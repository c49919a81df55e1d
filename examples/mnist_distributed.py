"""Train on several machines, or in several processes of one, and get the same bits as in one process.

You learn what a training step is when many share it. Each process, which MPI calls a rank, computes the gradient of its part of
the batch. They add up these gradients in a fixed order, each for a part of the weights, make the optimizer's step there, and send
the new weights to all others. The only new line in the program is initialize(). It needs the extra: pip install 'minidl[mpi]'.

    python examples/mnist_distributed.py
    mpiexec -n 2 python examples/mnist_distributed.py

Both print the same fingerprint of the trained weights. The batch is larger than in the other examples: it is cut into pieces of
100 digits, and a rank without a piece would have nothing to do.
"""

import argparse
import hashlib

import minidl
from minidl.datasets import mnist
from minidl.layers import Dense, Dropout, Flatten, Input, Rescaling

parser = argparse.ArgumentParser(description="Train on MNIST with several ranks of MPI.")
parser.add_argument("--epochs", type=int, default=5, help="passes over the training digits (default: 5)")
parser.add_argument("--batch-size", type=int, default=800, help="digits per step, of all ranks together (default: 800)")
parser.add_argument("--seed", type=int, default=0, help="determines weights, shuffling and dropout (default: 0)")
parser.add_argument("--samples", type=int, default=60_000, help="train on only this many digits (default: all)")
args = parser.parse_args()

minidl.distribution.initialize()  # before the first model; without mpiexec it does nothing
rank, size = minidl.distribution.rank(), minidl.distribution.size()

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, y_train = x_train[: args.samples], y_train[: args.samples]

model = minidl.Sequential(
    [
        Input((28, 28)),
        Rescaling(1 / 255),  # bytes to numbers from 0 to 1
        Flatten(),
        Dense(512, activation="relu"),
        Dropout(0.2),
        Dense(10, activation="softmax"),
    ],
    seed=args.seed,
)
model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

# Every rank makes the same calls, and each returns the whole result; rank 0 alone prints the progress.
model.fit(x_train, y_train, validation_data=(x_test, y_test), epochs=args.epochs, batch_size=args.batch_size)
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)

if rank == 0:
    fingerprint = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    print(f"Test error: {100 * (1 - accuracy):.2f}%")
    print(f"Fingerprint of the weights on {size} rank{'s' * (size > 1)}: {fingerprint[:16]}")
