"""scikit-learn's MLPClassifier: dense layers alone."""

import numpy as np
from sklearn.neural_network import MLPClassifier

from ..models import LEARNING_RATE, Dense, Flatten, Model, Unsupported


class Trainer:
    """An MLPClassifier without its penalty. Its only threads are those of NumPy's BLAS, which its process limits."""

    def __init__(self, model: Model, threads: int, seed: int) -> None:
        for layer in model.layers:
            if not isinstance(layer, Dense | Flatten):
                raise Unsupported(f"scikit-learn's MLPClassifier has dense layers alone, received {layer}.")
        units = [layer.units for layer in model.layers if isinstance(layer, Dense)]
        self.classes = np.arange(model.classes)
        self.model = MLPClassifier(
            hidden_layer_sizes=units[:-1], alpha=0, learning_rate_init=LEARNING_RATE, random_state=seed
        )

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Samples as rows."""
        return x.reshape(len(x), -1), y

    def train(self, x: np.ndarray, y: np.ndarray, batch_size: int) -> None:
        """One epoch: partial_fit is one pass over what it is given, in batches."""
        self.model.set_params(batch_size=min(batch_size, len(x)))
        self.model.partial_fit(x, y, classes=self.classes)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities, (n, classes)."""
        return self.model.predict_proba(x)
