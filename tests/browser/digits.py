"""The network of the tutorial, trained on MNIST for seconds, and one that is small enough to show its training step by step."""

from minidl import Sequential
from minidl.datasets import mnist
from minidl.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D, Rescaling

DIGIT = 8  # of the test images: a 5 that is often read as a 6


def network(filters, *between):
    model = Sequential(seed=1)
    model.add(Rescaling(1 / 255, input_shape=(28, 28, 1)))
    model.add(Conv2D(filters, (5, 5), activation="relu"))
    model.add(MaxPooling2D())
    for layer in between:
        model.add(layer)
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    return model


def tutorial():
    """(a trace of one digit, the model) of the network in the README, after 6,000 digits."""
    (x, y), (x_test, y_test) = mnist.load_data()
    model = network(32, Dropout(0.2), Flatten(), Dense(128, activation="relu"))
    model.fit(x[:6000, ..., None], y[:6000], epochs=1, batch_size=200, verbose=0)
    return model.trace(x_test[DIGIT : DIGIT + 1, ..., None], y_test[DIGIT : DIGIT + 1], training=True)


def training():
    """Traces of one digit by name, from before the training to after 100 steps."""
    (x, y), (x_test, y_test) = mnist.load_data()
    model = network(4, Flatten())
    traces = {}
    for step in range(0, 101, 10):
        name = f"after {step} steps" if step else "before training"
        traces[name] = model.trace(x_test[DIGIT : DIGIT + 1, ..., None], y_test[DIGIT : DIGIT + 1])
        batches = slice(step * 100, (step + 10) * 100)
        model.fit(x[batches, ..., None], y[batches], epochs=1, batch_size=100, verbose=0)
    return traces
