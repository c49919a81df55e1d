# Digit recognizer: a convolutional network on Kaggle's CSV files
import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

import keras
from keras.callbacks import ReduceLROnPlateau
from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D
from keras.models import Sequential
from keras.optimizers import RMSprop
from keras.utils import to_categorical

keras.utils.set_random_seed(2)

# train.csv and test.csv, with few and simple digits
rng = np.random.default_rng(0)
labels = rng.integers(0, 10, 800)
pixels = rng.integers(0, 40, (800, 28, 28))
for picture, label in zip(pixels, labels):
    picture[4:24, 2 + 2 * label : 6 + 2 * label] = 230
columns = [f"pixel{i}" for i in range(784)]
frame = pd.DataFrame(pixels.reshape(800, 784), columns=columns)
frame[:600].assign(label=labels[:600])[["label", *columns]].to_csv("train.csv", index=False)
frame[600:].to_csv("test.csv", index=False)

train = pd.read_csv("train.csv")
test = pd.read_csv("test.csv")
Y_train = train["label"]
X_train = train.drop(labels=["label"], axis=1)

X_train = X_train / 255.0
test = test / 255.0
X_train = X_train.values.reshape(-1, 28, 28, 1)
test = test.values.reshape(-1, 28, 28, 1)
Y_train = to_categorical(Y_train, num_classes=10)
X_train, X_val, Y_train, Y_val = train_test_split(X_train, Y_train, test_size=0.1, random_state=2)

model = Sequential()
model.add(Conv2D(filters=8, kernel_size=(5, 5), padding="Same", activation="relu", input_shape=(28, 28, 1)))
model.add(MaxPool2D(pool_size=(2, 2)))
model.add(Dropout(0.25))
model.add(Conv2D(filters=8, kernel_size=(3, 3), padding="Same", activation="relu"))
model.add(MaxPool2D(pool_size=(2, 2), strides=(2, 2)))
model.add(Flatten())
model.add(Dense(32, activation="relu"))
model.add(Dropout(0.5))
model.add(Dense(10, activation="softmax"))

model.compile(optimizer=RMSprop(learning_rate=0.001, rho=0.9), loss="categorical_crossentropy", metrics=["accuracy"])
learning_rate_reduction = ReduceLROnPlateau(monitor="val_accuracy", mode="max", patience=3, verbose=1, factor=0.5, min_lr=0.00001)
model.fit(
    X_train, Y_train, batch_size=32, epochs=8, validation_data=(X_val, Y_val), verbose=2, callbacks=[learning_rate_reduction]
)

results = np.argmax(model.predict(test, verbose=0), axis=1)
results = pd.Series(results, name="Label")
submission = pd.concat([pd.Series(range(1, len(results) + 1), name="ImageId"), results], axis=1)
submission.to_csv("submission.csv", index=False)
print(submission.head(3))
print("accuracy: %.3f" % np.mean(results.values == labels[600:]))
