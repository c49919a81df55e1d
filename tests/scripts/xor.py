# Learn XOR with a small neural network
import numpy as np
import keras
from keras.models import Sequential
from keras.layers import Dense, Activation

keras.utils.set_random_seed(42)

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "float32")
y = np.array([[0], [1], [1], [0]], "float32")

model = Sequential()
model.add(Dense(8, input_dim=2))
model.add(Activation("tanh"))
model.add(Dense(1))
model.add(Activation("sigmoid"))

adam = keras.optimizers.Adam(learning_rate=0.05)
model.compile(loss="binary_crossentropy", optimizer=adam, metrics=["accuracy"])
model.fit(X, y, batch_size=1, epochs=150, verbose=0)

print(model.predict(X, verbose=0).round(2))
loss, acc = model.evaluate(X, y, verbose=0)
print("accuracy: %.2f" % acc)
