"""The user's data: checked at once as far as possible, split into ranges, and read batch by batch, so that it may be on disk."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..checks import is_number
from ..contracts import Array, ArraySource, ClassWeight, DType, LossLike, Samples, Shape
from ..utils.forks import fork_safe
from .arrays import REAL, check_array, check_input, whole

Where = Array | slice  # which samples: their indices, or a slice
Parts = tuple[Samples | None, Samples | None, Samples | None]  # x, y, sample_weight

_reading = fork_safe()  # an array-like may seek in a file, which two threads must not do at once


def sample_count(where: Where) -> int:
    """The number of these samples."""
    return where.stop - where.start if isinstance(where, slice) else len(where)


def part(where: Where, start: int, stop: int) -> Where:
    """The samples at the positions from start to stop among these."""
    return slice(where.start + start, where.start + stop) if isinstance(where, slice) else where[start:stop]


class Data:
    """Samples, labels and weights of one ``fit``, ``evaluate`` or ``predict``: those from start to stop.

    Arguments: x: any array, or anything with shape, dtype and slices. y: as the loss prepared it, or None. weights: (n,)
    float64 or None. what: what messages call x. start, stop: the range of samples. Nothing is copied: a batch is read when
    it is needed.
    """

    def __init__(
        self,
        x: ArraySource,
        y: Array | None = None,
        weights: Array | None = None,
        what: str = "x",
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self.x, self.y, self.weights, self.what = x, y, weights, what
        self.start, self.stop = start, x.shape[0] if stop is None else stop
        self._floats = np.dtype(x.dtype).kind == "f"
        self._plain = isinstance(x, np.ndarray) and x.flags.c_contiguous and x.dtype.isnative

    def __len__(self) -> int:
        return int(self.stop - self.start)

    def inputs(self, where: Where, dtype: DType) -> Array:
        """These samples in the model's dtype, (n, …): a new array, or a view that must not be written to.

        Raises ValueError where one of them is not finite.
        """
        n, place = sample_count(where), self._place(where)
        x: Array
        if not isinstance(self.x, np.ndarray):
            with _reading:
                read = self._read(place)
        elif isinstance(place, slice):
            read = self.x[place]
        elif self._plain:
            read = np.empty((n, *self.x.shape[1:]), self.x.dtype)
            # "clip" lets NumPy write to out directly; no index is out of range
            self.x.take(place, axis=0, out=read, mode="clip")
        else:  # take would copy all samples first
            read = self.x[place]
        if read.dtype != dtype:
            with np.errstate(over="ignore"):  # what overflows the model's dtype becomes infinite, and is found below
                read = read.astype(dtype)
        x = np.ascontiguousarray(read)
        if self._floats and not all_finite(x):
            bad = int(np.flatnonzero(~np.isfinite(x).reshape(n, -1).all(axis=1))[0])
            sample = where.start + bad if isinstance(where, slice) else where[bad]
            raise ValueError(
                f"{self.what} holds NaN or infinity (as {dtype}), first found in sample {sample}. "
                "Remove or replace such samples."
            )
        return x

    def labels(self, where: Where) -> tuple[Array, Array | None]:
        """(labels (n, …), weights (n,) or None) of these samples. Raises ValueError where there are no labels."""
        if self.y is None:
            raise ValueError("y is missing: expected a label for each sample.")
        place = self._place(where)
        return self.y[place], None if self.weights is None else self.weights[place]

    def _place(self, where: Where) -> Where:
        """The indices of these samples in the whole arrays."""
        if isinstance(where, slice):
            return slice(self.start + where.start, self.start + where.stop)
        return where + self.start if self.start else where

    def _read(self, place: Where) -> Array:
        """These samples of an array-like, which may require increasing indices (h5py does) or support only slices."""
        if isinstance(place, slice):
            return self._conforming(self.x[place], place.stop - place.start)
        order = np.argsort(place)
        try:
            increasing = self.x[place[order]]
        except (TypeError, IndexError):
            return np.concatenate([self._conforming(self.x[i : i + 1], 1) for i in place])
        return self._conforming(increasing, len(place))[np.argsort(order)]

    def _conforming(self, read: npt.ArrayLike, n: int) -> Array:
        """n samples that an array-like has returned. Raises ValueError where they are not what its shape has promised."""
        samples, expected = np.asarray(read), (n, *self.x.shape[1:])
        if samples.shape != expected or samples.dtype.kind not in REAL:
            raise ValueError(
                f"{self.what} says that it has shape {tuple(self.x.shape)}, but {n} of its samples were read as an array of "
                f"shape {samples.shape} and dtype {samples.dtype}, where {expected} was expected. Mend its __getitem__."
            )
        return samples


# --------------------------------------------------------------------------------------- from the user's arguments to Data


def collect(
    x: ArraySource,
    y: Samples | None,
    sample_weight: Samples | None = None,
    class_weight: ClassWeight | None = None,
    *,
    loss: LossLike,
    output_shape: Shape,
    what: str = "x",
    validation_split: object = 0.0,
) -> tuple[Data, Data | None]:
    """(samples to train on, samples to validate on or None), from arguments of ``fit``; x is checked already.

    loss: brings all labels into its form, or finds fault with them. output_shape: of one prediction. validation_split: the share
    of the samples, the last ones, to validate on.

    Raises ValueError where labels or weights are missing, not finite, of another length than x, or not what the loss takes.
    """
    if y is None:
        raise ValueError("y is missing: expected a label for each sample.")
    n = int(x.shape[0])
    given = check_array(y, "y")
    check_lengths(x=x, y=given)
    labels = whole(given)
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("y holds NaN or infinity. Remove or replace such samples.")
    if output_shape == (1,) and labels.ndim == 1:
        labels = labels[:, None]  # as Keras: in a loss that takes the difference, (n, 1) − (n,) would become (n, n)
    weights = held_out = check_weights(sample_weight, n)
    cut = _cut(n, validation_split)
    if class_weight is not None:
        by_class = class_weights(class_weight, labels[:cut], output_shape)
        weights = by_class if weights is None else weights[:cut] * by_class
    if hasattr(loss, "prepare"):
        labels = loss.prepare(labels, output_shape)
    validation = Data(x, labels, held_out, "the validation split's x", cut) if cut < n else None
    return Data(x, labels, weights, what, 0, cut), validation


def collect_batch(
    batch: Parts,
    what: str,
    model: str,
    input_shape: Shape,
    loss: LossLike | None,
    output_shape: Shape,
    class_weight: ClassWeight | None,
) -> Data:
    """The same for one batch that the user's code has made, as a copy: that code may write the next one into the same arrays.

    loss: None leaves the labels out. Raises ValueError as ``collect`` does, and where x does not fit the model.
    """
    x, y, sample_weight = batch
    samples = np.array(whole(check_input(x, input_shape, model, what)))
    if loss is None:
        return Data(samples, what=what)
    if y is None:
        raise ValueError(f"{what} has no labels: expected (x, y) or (x, y, sample_weight).")
    y = np.array(whole(check_array(y, "y")))
    weights = None if sample_weight is None else np.array(whole(check_array(sample_weight, "sample_weight")))
    return collect(samples, y, weights, class_weight, loss=loss, output_shape=output_shape, what=what)[0]


def unpacked(validation_data: Sequence[Samples | None]) -> tuple[Samples | None, Samples | None, Samples | None]:
    """(x, y, sample_weight or None) from (x, y) or (x, y, sample_weight). Raises ValueError for anything else."""
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise ValueError(
            f"validation_data must be (x, y) or (x, y, sample_weight), received {type(validation_data).__name__}."
        )
    x, y, *weights = validation_data
    return x, y, weights[0] if weights else None


def _cut(n: int, share: object) -> int:
    """How many of n samples remain to train on. Raises ValueError where the share leaves nothing to train or to validate on."""
    if not is_number(share) or not 0 <= share < 1:
        raise ValueError(f"validation_split must be a number in [0, 1), received {share!r}.")
    cut = math.floor(n * (1 - share))
    if share and not 0 < cut < n:
        raise ValueError(f"validation_split={share} of {n} samples leaves none to train on or none to validate on.")
    return cut


def check_weights(sample_weight: Samples | None, n: int) -> Array | None:
    """One finite weight ≥ 0 per sample, as float64 (n,). Raises ValueError for anything else."""
    if sample_weight is None:
        return None
    weights = whole(check_array(sample_weight, "sample_weight")).astype(np.float64, copy=False)
    if weights.shape == (n, 1):
        weights = weights[:, 0]
    if weights.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), one weight a sample, received {weights.shape}.")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("sample_weight must be finite and not negative.")
    return weights


def class_weights(class_weight: ClassWeight, y: Array, output_shape: Shape) -> Array:
    """The weight of each sample's class, (n,); 1 for a class that is not named.

    class_weight: class → weight; or the weights of the classes 0, 1, …; or "balanced", n / (classes · samples of the class), as
    scikit-learn does. y: (n,), (n, 1) or one-hot (n, K). output_shape: of a prediction: (K,) has the classes 0 … K − 1, and
    (1,) those of two classes, 0 and 1 or −1 and 1: there the class 0 is −1. Raises ValueError for another class, or a weight that
    is none.
    """
    if y.ndim > 2:
        raise ValueError(f"class_weight expects labels of shape (n,), (n, 1) or (n, classes), received {y.shape}.")
    labels = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] > 1 else y.reshape(len(y))
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f"class_weight must be 'balanced', a dictionary or a list, received {class_weight!r}.")
        present, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        balanced: Array = (len(labels) / (len(present) * counts))[place]
        return balanced
    weights = np.ones(len(y))
    by_class = _by_class(class_weight, output_shape)
    if output_shape == (1,) and -1 not in by_class and not (labels == 0).any():
        labels = np.where(labels == -1, 0, labels)
    for label, weight in by_class.items():
        if not is_number(weight) or not math.isfinite(weight) or weight < 0:
            raise ValueError(f"class_weight must be finite and not negative, received {weight!r} for class {label!r}.")
        weights[labels == label] = weight
    return weights


def _by_class(class_weight: ClassWeight, output_shape: Shape) -> Mapping[int, float]:
    """class → weight. Raises ValueError for a class that the model does not have."""
    known = None  # predictions of another rank are not of classes
    if len(output_shape) == 1:
        known = [-1, 0, 1] if output_shape[0] == 1 else list(range(output_shape[0]))
    if not isinstance(class_weight, Mapping):
        listed = np.asarray(class_weight)
        if listed.ndim != 1 or (known is not None and len(listed) != max(known) + 1):
            expected = "" if known is None else f", one weight for each of the {max(known) + 1} classes"
            raise ValueError(f"class_weight must be a dictionary or a list{expected}, received {class_weight!r:.200}.")
        return dict(enumerate(listed.tolist()))
    classes: Collection[object] = class_weight.keys()  # whatever JSON made of them
    for label in classes:
        if isinstance(label, str):
            raise ValueError(
                f"class_weight's classes must be integers, received {label!r}. Use "
                "{int(label): weight for label, weight in class_weight.items()}."
            )
        if known is not None and label not in known:
            outputs = "two classes, 0 and 1" if output_shape == (1,) else f"the classes 0 … {known[-1]}"
            raise ValueError(f"class_weight has the class {label!r}, and the model has {outputs}.")
    return class_weight


def check_lengths(**arrays: ArraySource | None) -> None:
    """Raise ValueError where the arrays do not hold the same number of samples."""
    lengths = {name: array.shape[0] for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        parts = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"x and y must hold the same number of samples, received different ones: {parts}.")


def all_finite(array: Array) -> bool:
    """Whether a contiguous array holds neither NaN nor infinity. NumPy may warn of an overflow."""
    # The sum of squares is the quick test, one pass that writes nothing; it can overflow although every entry is finite.
    return bool(math.isfinite(np.vdot(array, array)) or np.isfinite(array).all())
