# Stop when the validation loss no longer falls, and keep the best model on disk
import matplotlib.pyplot as plt
from sklearn.datasets import make_moons

import keras
from keras.callbacks import EarlyStopping, ModelCheckpoint
from keras.layers import Dense
from keras.models import Sequential, load_model

keras.utils.set_random_seed(9)

X, y = make_moons(n_samples=300, noise=0.25, random_state=1)
trainX, testX = X[:150, :], X[150:, :]
trainy, testy = y[:150], y[150:]

model = Sequential()
model.add(Dense(100, input_dim=2, activation="relu"))
model.add(Dense(2, activation="softmax"))
model.compile(loss="sparse_categorical_crossentropy", optimizer=keras.optimizers.Adam(0.02), metrics=["accuracy"])

es = EarlyStopping(monitor="val_loss", mode="min", verbose=1, patience=8)
mc = ModelCheckpoint("best_model.keras", monitor="val_accuracy", mode="max", verbose=0, save_best_only=True)
history = model.fit(trainX, trainy, validation_data=(testX, testy), epochs=300, verbose=0, callbacks=[es, mc])
print("epochs:", len(history.history["loss"]))

saved_model = load_model("best_model.keras")
_, train_acc = saved_model.evaluate(trainX, trainy, verbose=0)
_, test_acc = saved_model.evaluate(testX, testy, verbose=0)
print("Train: %.3f, Test accuracy: %.3f" % (train_acc, test_acc))

plt.plot(history.history["loss"], label="train")
plt.plot(history.history["val_loss"], label="test")
plt.legend()
plt.savefig("early_stopping.png")
plt.close()
