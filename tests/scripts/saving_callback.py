# A callback of one's own: keep the best model, print every few epochs, and stop when it is good enough
import numpy as np

import keras
from keras.callbacks import Callback, LambdaCallback
from keras.layers import Dense
from keras.models import Sequential

keras.utils.set_random_seed(16)
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 5))
y = keras.utils.to_categorical((X[:, 0] * X[:, 1] > 0).astype(int), 2)


class SaveBest(Callback):
    def __init__(self, path, good_enough=0.95):
        super().__init__()
        self.path = path
        self.good_enough = good_enough
        self.best = 0.0
        self.losses = []

    def on_train_begin(self, logs=None):
        print("Training for up to", self.params["epochs"], "epochs")

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(logs.get("loss"))

    def on_epoch_end(self, epoch, logs=None):
        current = logs.get("val_accuracy")
        if current > self.best:
            self.best = current
            self.model.save(self.path)
        if (epoch + 1) % 10 == 0:
            print("Epoch %d: val_accuracy %.3f, learning rate %.4f" % (epoch + 1, current, self.model.optimizer.learning_rate))
        if current >= self.good_enough:
            print("good enough after epoch", epoch + 1)
            self.model.stop_training = True


model = Sequential()
model.add(Dense(32, activation="tanh", input_dim=5))
model.add(Dense(2, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.Adam(learning_rate=0.02), metrics=["accuracy"])
saver = SaveBest("best.keras")
weights = []
keep = LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()[0].mean()))
model.fit(X, y, validation_split=0.25, epochs=60, batch_size=32, verbose=0, callbacks=[saver, keep])

best = keras.models.load_model("best.keras")
print("batches seen:", len(saver.losses), "epochs:", len(weights))
print("accuracy: %.3f" % best.evaluate(X[300:], y[300:], verbose=0)[1])
