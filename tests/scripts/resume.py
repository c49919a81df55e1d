# Train, save, come back the next day and train on from where it stopped
import os

import numpy as np

import keras
from keras import callbacks, layers

CHECKPOINT = "training/last.keras"
keras.utils.set_random_seed(10)
rng = np.random.default_rng(0)
x = rng.normal(size=(400, 10)).astype("float32")
y = x @ rng.normal(size=(10, 3)).astype("float32")
y = y.argmax(axis=1)


def make_or_restore_model():
    if os.path.exists(CHECKPOINT):
        print("Restoring from", CHECKPOINT)
        return keras.models.load_model(CHECKPOINT)
    print("Creating a new model")
    model = keras.Sequential([layers.Dense(16, activation="relu"), layers.Dense(3, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def run_training(initial_epoch, epochs):
    model = make_or_restore_model()
    keep = callbacks.ModelCheckpoint(CHECKPOINT, save_freq="epoch")
    log = callbacks.CSVLogger("training.csv", append=initial_epoch > 0)
    return model.fit(
        x, y, epochs=epochs, initial_epoch=initial_epoch, batch_size=20, verbose=0, callbacks=[keep, log]
    )


os.makedirs("training", exist_ok=True)
first = run_training(0, 4)
second = run_training(4, 25)
print("epochs of the second run:", second.epoch)
print("loss: %.3f -> %.3f -> %.3f" % (first.history["loss"][0], second.history["loss"][0], second.history["loss"][-1]))
with open("training.csv") as log:
    print("lines in the log:", len(log.readlines()))
print("accuracy: %.3f" % second.history["accuracy"][-1])
