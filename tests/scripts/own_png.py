# Train once, then recognise a digit that was drawn by hand and saved as a PNG
import numpy as np
from PIL import Image, ImageDraw, ImageOps

import keras
from keras import layers
from keras.datasets import mnist

keras.utils.set_random_seed(4)

(x_train, y_train), _ = mnist.load_data()
x_train = x_train[:6000].reshape(6000, 784).astype("float32") / 255
y_train = keras.utils.to_categorical(y_train[:6000], 10)

model = keras.Sequential()
model.add(layers.Dense(64, activation="relu", input_shape=(784,)))
model.add(layers.Dense(10, activation="softmax"))
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, epochs=3, batch_size=64, verbose=0)
model.save("digits.keras")

# a "1", black on white, as a paint program saves it: RGBA, and larger than the network's images
drawn = Image.new("RGBA", (280, 280), "white")
ImageDraw.Draw(drawn).line([(145, 50), (140, 230)], fill="black", width=24)
drawn.save("my_digit.png")

model = keras.models.load_model("digits.keras")
img = Image.open("my_digit.png").convert("L").resize((28, 28))
img = ImageOps.invert(img)
x = np.array(img).astype("float32") / 255.0
prediction = model.predict(x.reshape(1, 784), verbose=0)
print(prediction.round(3))
print("This is a", np.argmax(prediction))
