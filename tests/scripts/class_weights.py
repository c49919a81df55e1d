# Fraud detection: few positives, so errors on them weigh more
import numpy as np
from sklearn.metrics import confusion_matrix
from sklearn.utils.class_weight import compute_class_weight

import keras
from keras.layers import Dense
from keras.models import Sequential

keras.utils.set_random_seed(8)

rng = np.random.default_rng(1)
y = (rng.random(2000) < 0.04).astype(int)
X = rng.normal(0, 1, (2000, 6))
X[y == 1, :2] += 1.6

weights = compute_class_weight(class_weight="balanced", classes=np.unique(y), y=y)
class_weight = dict(enumerate(weights))
print("class weights:", {k: round(float(v), 2) for k, v in class_weight.items()})


def train(**options):
    keras.utils.set_random_seed(8)
    model = Sequential([Dense(8, activation="relu", input_shape=(6,)), Dense(2, activation="softmax")])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X[:1500], y[:1500], epochs=10, batch_size=64, verbose=0, **options)
    y_pred = np.argmax(model.predict(X[1500:], verbose=0), axis=1)
    tn, fp, fn, tp = confusion_matrix(y[1500:], y_pred).ravel()
    print(f"tn {tn}, fp {fp}, fn {fn}, tp {tp}")
    return tp / (tp + fn)


print("recall without weights: %.2f" % train())
print("recall with weights: %.2f" % train(class_weight=class_weight))
