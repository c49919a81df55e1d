# Film reviews as bags of words: positive or negative?
import matplotlib.pyplot as plt
import numpy as np

import keras
from keras import layers, models, optimizers

keras.utils.set_random_seed(3)

# reviews as lists of word numbers, of different lengths; words below 100 are nice, those up to 200 are not
rng = np.random.default_rng(0)
labels = rng.integers(0, 2, 1200)
sequences = [
    list(rng.integers(0, 1000, rng.integers(10, 60))) + list(rng.integers(0, 100, 6) + 100 * (1 - label)) for label in labels
]


def vectorize_sequences(sequences, dimension=1000):
    results = np.zeros((len(sequences), dimension))
    for i, sequence in enumerate(sequences):
        results[i, sequence] = 1.0
    return results


x_train, x_test = vectorize_sequences(sequences[:1000]), vectorize_sequences(sequences[1000:])
y_train, y_test = np.asarray(labels[:1000]).astype("float32"), np.asarray(labels[1000:]).astype("float32")
x_val, partial_x_train = x_train[:200], x_train[200:]
y_val, partial_y_train = y_train[:200], y_train[200:]

model = models.Sequential()
model.add(layers.Dense(16, activation="relu", input_shape=(1000,)))
model.add(layers.Dense(16, activation="relu"))
model.add(layers.Dense(1, activation="sigmoid"))
model.compile(optimizer=optimizers.RMSprop(learning_rate=0.001), loss="binary_crossentropy", metrics=["acc"])

history = model.fit(
    partial_x_train, partial_y_train, epochs=10, batch_size=64, validation_data=(x_val, y_val), verbose=2
)
history_dict = history.history
epochs = range(1, len(history_dict["acc"]) + 1)
plt.plot(epochs, history_dict["loss"], "bo", label="Training loss")
plt.plot(epochs, history_dict["val_loss"], "b", label="Validation loss")
plt.legend()
plt.savefig("loss.png")
plt.close()

results = model.evaluate(x_test, y_test, verbose=0)
print("test loss, test acc:", results)
print("accuracy: %.3f" % results[1])
