"""to_categorical: class labels as the one-hot rows that categorical_crossentropy expects."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import is_integer


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[np.float32]:
    """Encode integer labels as one-hot vectors.

    Arguments: x: labels from 0 to num_classes − 1, of any shape (…); floats are accepted if they are whole numbers. If x has
    more than one axis and the last has size 1, that axis is dropped, so a column of labels gives a matrix. num_classes: the
    number of classes K; None means the largest label + 1.

    Returns a float32 array (…, K) with 1 at each label and 0 elsewhere. Keras 3 returns float64 here; float32 is what models
    compute in, so targets need no conversion and half the memory.

    Raises ValueError where a label is negative, not below num_classes or not a whole number; where x is empty and num_classes
    is None; and where num_classes is not a positive integer.
    """
    labels = np.asarray(x)
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"to_categorical: expected integer labels, received dtype {labels.dtype}. "
            "Number the classes from 0 first, for example with np.unique(x, return_inverse=True)."
        )
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.trunc(labels))
        if not whole.all():
            raise ValueError(
                f"to_categorical: expected integer labels, received {labels[~whole].flat[0]}. "
                "Pass class numbers, not probabilities or scaled values."
            )
    if labels.size and labels.min() < 0:
        raise ValueError(
            f"to_categorical: expected labels of 0 or more, received {labels.min()}. Number the classes from 0."
        )

    if num_classes is None:
        if not labels.size:
            raise ValueError(
                f"to_categorical: expected at least one label, received x of shape {labels.shape}. Pass num_classes."
            )
        num_classes = int(labels.max()) + 1
    elif not is_integer(num_classes) or num_classes < 1:
        raise ValueError(
            f"to_categorical: expected num_classes to be a positive integer, received {num_classes!r}. "
            "Leave it out to use the largest label + 1."
        )
    elif labels.size and labels.max() >= num_classes:
        raise ValueError(
            f"to_categorical: expected labels below num_classes={num_classes}, received {labels.max()}. "
            "Number the classes from 0, or raise num_classes."
        )

    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    one_hot = np.zeros((labels.size, num_classes), np.float32)
    one_hot[np.arange(labels.size), labels.ravel().astype(np.intp)] = 1
    return one_hot.reshape(*shape, num_classes)
