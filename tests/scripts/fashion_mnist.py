# Clothing: classify small grayscale images, read from the four files of Fashion-MNIST
import gzip
import os

import numpy as np

import keras

keras.utils.set_random_seed(0)

# small files in the format of the real ones: ten kinds of stripes
os.makedirs("data/fashion", exist_ok=True)
rng = np.random.default_rng(0)
for kind, n in (("train", 1500), ("t10k", 300)):
    labels = rng.integers(0, 10, n).astype(np.uint8)
    images = rng.integers(0, 60, (n, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels):
        image[2 + 2 * label : 6 + 2 * label, 4:24] = 200
    with gzip.open(f"data/fashion/{kind}-labels-idx1-ubyte.gz", "wb") as f:
        f.write(bytes([0, 0, 8, 1]) + n.to_bytes(4, "big") + labels.tobytes())
    with gzip.open(f"data/fashion/{kind}-images-idx3-ubyte.gz", "wb") as f:
        f.write(bytes([0, 0, 8, 3]) + n.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + images.tobytes())


def load_mnist(path, kind="train"):
    labels_path = os.path.join(path, "%s-labels-idx1-ubyte.gz" % kind)
    images_path = os.path.join(path, "%s-images-idx3-ubyte.gz" % kind)
    with gzip.open(labels_path, "rb") as lbpath:
        labels = np.frombuffer(lbpath.read(), dtype=np.uint8, offset=8)
    with gzip.open(images_path, "rb") as imgpath:
        images = np.frombuffer(imgpath.read(), dtype=np.uint8, offset=16).reshape(len(labels), 28, 28)
    return images, labels


train_images, train_labels = load_mnist("data/fashion", "train")
test_images, test_labels = load_mnist("data/fashion", "t10k")
class_names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

train_images = train_images / 255.0
test_images = test_images / 255.0

model = keras.Sequential(
    [keras.layers.Flatten(input_shape=(28, 28)), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(10)]
)
model.compile(
    optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
)
model.fit(train_images, train_labels, epochs=4, verbose=2)

test_loss, test_acc = model.evaluate(test_images, test_labels, verbose=2)
print("\nTest accuracy: %.3f" % test_acc)

probability_model = keras.Sequential([model, keras.layers.Softmax()])
predictions = probability_model.predict(test_images, verbose=0)
print(class_names[np.argmax(predictions[0])], "%.2f" % predictions[0].sum())

img = np.expand_dims(test_images[1], 0)
print(probability_model.predict(img, verbose=0).shape)
