# Train on the digits 0-4, freeze the convolutions, and learn the digits 5-9 with a new head
import keras
from keras.datasets import mnist
from keras.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from keras.models import Sequential

keras.utils.set_random_seed(15)
num_classes = 5

(x_train, y_train), (x_test, y_test) = mnist.load_data()
x_train, y_train, x_test, y_test = x_train[:6000], y_train[:6000], x_test[:1000], y_test[:1000]
x_train_lt5, y_train_lt5 = x_train[y_train < 5], y_train[y_train < 5]
x_train_gte5, y_train_gte5 = x_train[y_train >= 5], y_train[y_train >= 5] - 5
x_test_gte5, y_test_gte5 = x_test[y_test >= 5], y_test[y_test >= 5] - 5

feature_layers = [
    Conv2D(8, 3, padding="valid", input_shape=(28, 28, 1)),
    Activation("relu"),
    MaxPooling2D(pool_size=2),
    Dropout(0.25),
    Flatten(),
]
classification_layers = [Dense(32), Activation("relu"), Dropout(0.5), Dense(num_classes), Activation("softmax")]
model = Sequential(feature_layers + classification_layers)


def train_model(model, x, y):
    x = x.reshape(x.shape[0], 28, 28, 1).astype("float32") / 255
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    model.fit(x, keras.utils.to_categorical(y, num_classes), batch_size=64, epochs=2, verbose=0)


train_model(model, x_train_lt5, y_train_lt5)
before = model.layers[0].get_weights()[0].copy()
for layer in feature_layers:
    layer.trainable = False
train_model(model, x_train_gte5, y_train_gte5)
print("filters unchanged:", (model.layers[0].get_weights()[0] == before).all())

# or with the whole base as one layer under a new head
base = Sequential(feature_layers)
base.trainable = False
new = Sequential([base, Dense(num_classes, activation="softmax")])
train_model(new, x_train_gte5, y_train_gte5)
x = x_test_gte5.reshape(-1, 28, 28, 1) / 255
score = new.evaluate(x, keras.utils.to_categorical(y_test_gte5, num_classes), verbose=0)
print("Test accuracy: %.3f" % score[1])
