"""The three scripts of the Keras tutorial on digits run with ``keras`` replaced by ``minidl`` and nothing else changed."""

import functools
import re

import pytest

import minidl
from minidl.datasets import mnist

LOAD = """
from keras.datasets import mnist
from keras.models import Sequential
from keras.layers import Dense, Dropout, Flatten
from keras.layers.convolutional import Conv2D, MaxPooling2D
from keras.utils import np_utils
# load data
(X_train, y_train), (X_test, y_test) = mnist.load_data()
"""

AS_IMAGES = """
# reshape to be [samples][width][height][channels]
X_train = X_train.reshape((X_train.shape[0], 28, 28, 1)).astype('float32')
X_test = X_test.reshape((X_test.shape[0], 28, 28, 1)).astype('float32')
"""

AS_ROWS = """
# flatten 28*28 images to a 784 vector for each image
num_pixels = X_train.shape[1] * X_train.shape[2]
X_train = X_train.reshape((X_train.shape[0], num_pixels)).astype('float32')
X_test = X_test.reshape((X_test.shape[0], num_pixels)).astype('float32')
"""

PREPARE = """
# normalize inputs from 0-255 to 0-1
X_train = X_train / 255
X_test = X_test / 255
# one hot encode outputs
y_train = np_utils.to_categorical(y_train)
y_test = np_utils.to_categorical(y_test)
num_classes = y_test.shape[1]
"""

BASELINE = """
def build_model():
    model = Sequential()
    model.add(Dense(num_pixels, input_dim=num_pixels, kernel_initializer='normal', activation='relu'))
    model.add(Dense(num_classes, kernel_initializer='normal', activation='softmax'))
    model.compile(loss='categorical_crossentropy', optimizer='adam', metrics=['accuracy'])
    return model
"""

CNN = """
def build_model():
    model = Sequential()
    model.add(Conv2D(32, (5, 5), input_shape=(28, 28, 1), activation='relu'))
    model.add(MaxPooling2D())
    model.add(Dropout(0.2))
    model.add(Flatten())
    model.add(Dense(128, activation='relu'))
    model.add(Dense(num_classes, activation='softmax'))
    model.compile(loss='categorical_crossentropy', optimizer='adam', metrics=['accuracy'])
    return model
"""

LARGER_CNN = """
def build_model():
    model = Sequential()
    model.add(Conv2D(30, (5, 5), input_shape=(28, 28, 1), activation='relu'))
    model.add(MaxPooling2D())
    model.add(Conv2D(15, (3, 3), activation='relu'))
    model.add(MaxPooling2D())
    model.add(Dropout(0.2))
    model.add(Flatten())
    model.add(Dense(128, activation='relu'))
    model.add(Dense(50, activation='relu'))
    model.add(Dense(num_classes, activation='softmax'))
    model.compile(loss='categorical_crossentropy', optimizer='adam', metrics=['accuracy'])
    return model
"""

TRAIN = """
model = build_model()
model.fit(X_train, y_train, validation_data=(X_test, y_test), epochs=10, batch_size=200, verbose=2)
scores = model.evaluate(X_test, y_test, verbose=0)
print("CNN Error: %.2f%%" % (100-scores[1]*100))
"""

TRAINING, TEST = 2000, 400  # of the 60,000 and 10,000 digits


@pytest.fixture
def _fewer_digits(monkeypatch):
    """The first digits alone, and a seed that the script does not give: both from outside the script."""
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    few = (x_train[:TRAINING], y_train[:TRAINING]), (x_test[:TEST], y_test[:TEST])
    monkeypatch.setattr(mnist, "load_data", lambda: few)
    monkeypatch.setattr(minidl.Sequential, "__init__", functools.partialmethod(minidl.Sequential.__init__, seed=1))


def run(script):
    names = {"__name__": "__main__"}
    exec(script.replace("keras", "minidl"), names)
    return names


@pytest.mark.usefixtures("_fewer_digits")
@pytest.mark.parametrize(
    ("script", "parameters", "most"),
    [
        (LOAD + AS_ROWS + PREPARE + BASELINE + TRAIN, 623_290, 14),
        (LOAD + AS_IMAGES + PREPARE + CNN + TRAIN, 592_074, 10),
        (LOAD + AS_IMAGES + PREPARE + LARGER_CNN + TRAIN, 59_933, 12),
    ],
    ids=["baseline", "simple CNN", "larger CNN"],
)
def test_the_script_runs_and_learns(script, parameters, most, capsys):
    names = run(script)
    assert names["model"].count_params() == parameters
    *log, result = capsys.readouterr().out.splitlines()
    assert len(log) == 20
    for epoch in range(10):
        assert log[2 * epoch] == f"Epoch {epoch + 1}/10"
        number = r"\d+\.\d{4}|\d\.\d{4}e-\d\d"
        metrics = "".join(rf" - {name}: ({number})" for name in ("accuracy", "loss", "val_accuracy", "val_loss"))
        assert re.fullmatch(r"10/10 - \d+s - \d+(ms|us|s)/step" + metrics, log[2 * epoch + 1]), log[2 * epoch + 1]
    error = 100 - names["scores"][1] * 100
    assert result == f"CNN Error: {error:.2f}%"
    assert error < most  # guessing makes 90


@pytest.mark.usefixtures("_fewer_digits")
@pytest.mark.parametrize("model", [CNN, LARGER_CNN])
def test_the_first_listings_shape_gives_the_fix(model):
    """The tutorial's first listing has the channels first, for data that have them last."""
    script = (LOAD + AS_IMAGES + PREPARE + model + TRAIN).replace("input_shape=(28, 28, 1)", "input_shape=(1, 28, 28)")
    text = (
        "Conv2D 'conv2d' expects input (height, width, channels) at least 5×5, received (1, 28, 28). If the "
        "images are channels-first, use input_shape=(28, 28, 1); otherwise make the window smaller, or use padding='same'."
    )
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        run(script)
