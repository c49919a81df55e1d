"""PyDataset: the base class of a data set that makes its batches by their number."""

from typing import Any


class PyDataset:
    """Batches by their number, for ``fit``, ``evaluate`` and ``predict``. Write your own like this::

        class Pictures(PyDataset):
            def __len__(self):
                return len(self.paths) // 32

            def __getitem__(self, i):
                paths = self.paths[32 * i : 32 * (i + 1)]
                return np.stack([load(path) for path in paths]), self.labels[32 * i : 32 * (i + 1)]

    Any object with these two methods will do; the class is here because Keras has one. Each batch is made while the one before it
    is trained on. ``on_epoch_end``, if there is one, is called when all batches of an epoch have been made.

    Arguments: workers, use_multiprocessing, max_queue_size: Keras's, without effect: there is one thread, one batch ahead.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError(f"{type(self).__name__} must define __len__(self) → the number of batches.")

    def __getitem__(self, i: int) -> Any:
        """The batch of this number: (x, y) or (x, y, sample_weight)."""
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, i) → (x, y).")


Sequence = PyDataset  # Keras 2's name
