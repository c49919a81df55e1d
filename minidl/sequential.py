"""Sequential: the model that users write, a stack of layers trained with fit."""

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from . import backprop, configs, losses, model_files, optimizers, summary
from . import metrics as metric_functions
from .callbacks import Callback, CallbackList, History, Progress, check_verbose, one_by_one
from .checks import check_count, check_positive, is_integer
from .contracts import Array, Config, CustomObjects, Logs, Path, Shape
from .engine.blas import SingleThreadedBlas
from .engine.data import Data, check_array, check_input, collect
from .engine.engine import Engine, is_view
from .engine.interrupts import Uninterrupted
from .engine.plan import on_logits
from .home import Home
from .layers import Stack
from .layers.base import LayerSettings
from .layers.stack import build_layer, home, is_built
from .ops import OPERATIONS
from .ops.random import FORWARD, INITIALIZE, RandomKey, derive_key, generator
from .tracing import Trace
from .training import Stepper, Training, evaluate, means, slices
from .utils.forks import fork_safe
from .utils.lookup import by_name

EVALUATION_BATCH = 500  # samples; but for rounding, the result does not depend on it

_building = fork_safe()  # not the model's own, which could then not be copied; a layer's build may build a model


class Sequential(Stack):
    """A stack of layers: what one gives, the next one takes.

    Arguments: layers: to add at once. name: shown in messages and in the summary. seed: an integer ≥ 0; from it follow the
    initial weights, the shuffling and the dropout; None draws one, kept in ``model.seed``. dtype: "float32", or "float64" for
    proofs. ops: "kernels" (fast) or "reference" (NumPy, to read and to step through). fuse: False runs every layer as a step
    of its own, also where neighbours have one fused kernel. trainable: False freezes all layers.

    A model is built, its weights allocated, as soon as it knows the shape of a sample: from Input(shape) or the first layer's
    ``input_shape``; otherwise from the first data that it sees.

    A Sequential may stand in another one, as a layer; then seed, dtype, ops, fuse and optimizer are those of the outermost.
    Layers that are built keep their weights. They belong to the model that was compiled last with them among others of its
    own: that one trains them, and the one before can still predict. A model that has nothing but layers of another one, as
    Sequential(model.layers[:3]), is a view: it predicts.
    """

    def __init__(
        self,
        layers: Sequence[Any] | None = None,
        name: str | None = None,
        *,
        seed: int | None = None,
        dtype: str = "float32",
        ops: str = "kernels",
        fuse: bool = True,
        **common: Unpack[LayerSettings],
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise ValueError(f"a model's name must be a text or None, received {name!r}.")
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', received {dtype!r}.")
        if not is_integer(seed) or seed < 0:
            raise ValueError(f"seed must be an integer ≥ 0 or None, received {seed!r}.")
        self.seed = int(seed)
        self.dtype = np.dtype(dtype)
        self.fuse = bool(fuse)
        self.optimizer: Any = None
        self.loss: Any = None
        self.metrics: list[tuple[str, Any]] = []
        self.stop_training = False
        self.history: History | None = None  # of the last fit, or of the one that runs
        # In the model's life: a second fit, or compile, repeats neither the shuffles nor the dropout of the first.
        self.epochs_trained = 0
        self.steps_trained = 0
        self._engine = Engine()
        self._known: list[Any] = []  # the layers, as they were when the model last looked
        super().__init__((), **common)
        self.name = name or "sequential"
        self._given_name = name or None
        self.ops = by_name(OPERATIONS, ops, "set of operations")
        if layers is not None and not isinstance(layers, Sequence):
            raise TypeError(f"{self} layers must be a list of layers, received {layers!r}.")
        for layer in layers or []:
            self.add(layer)
        self._engine.gather(self)

    def __str__(self) -> str:
        return f"model {self.name!r}"

    @property
    def given_name(self) -> str | None:
        return self._given_name

    # ------------------------------------------------------------------------------------------------------ building

    def add(self, layer: Any) -> None:
        """Put a layer on top: one of ours, a stack, or any object with params, build, forward and backward.

        A layer that is built keeps its weights. Raises TypeError for something else, ValueError where it does not fit the
        layers below or its name is taken; the model is then as it was.
        """
        self._notice_changes()
        super().add(layer)
        self._engine.forget()
        if self.optimizer is not None:
            self._engine.gather(self)  # here, and not when fit begins: who holds an array then would be left with a copy
        self._known = self._inside()

    def _inside(self) -> list[Any]:
        return [layer for stack in self.stacks() for layer in stack.layers]

    def _notice_changes(self) -> None:
        """Where a list of layers was changed by hand, look whether they fit each other, and build what is new."""
        if self._known == (now := self._inside()):
            return
        layers, shape = list(self.layers), self.input_shape
        self.layers.clear()
        self.input_shape = None if layers and is_built(layers[0]) else shape
        try:
            for layer in layers:
                super().add(layer)
        except Exception:
            self.layers[:], self.input_shape = layers, shape
            raise
        self._known = now
        self._engine.forget()

    def build(
        self, input_shape: Sequence[int | None], rng: np.random.Generator | None = None, dtype: Any = None
    ) -> Shape:
        """Allocate the weights for samples of this shape, and return the output's. Data does the same when it first comes.

        input_shape: without the batch axis; a None in front, which stands for it in Keras, is left out. rng, dtype: those of
        the model around it; without them, what follows from its own seed, and its own dtype.
        """
        if self.built:
            raise ValueError(f"{self} is already built, for input_shape={self.input_shape}.")
        self.dtype = self.dtype if dtype is None else dtype
        output = super().build(input_shape, rng, self.dtype)
        self._engine.gather(self)
        return output

    def _generators(self, rng: np.random.Generator | None) -> Sequence[np.random.Generator]:
        if rng is not None:
            return super()._generators(rng)
        return [generator(self.seed, INITIALIZE, place) for place in range(len(self.layers))]

    def _build_next(self, layer: Any, shape: Shape) -> None:
        build_layer(layer, shape, generator(self.seed, INITIALIZE, len(self.layers)), self.dtype)

    def summary(self) -> None:
        """Print a table of the layers, their output shapes and their weights."""
        if not self.built:
            raise ValueError(f"{self} is not built: give its first layer an input_shape, or call build(input_shape).")
        summary.show(self)

    # ------------------------------------------------------------------------------------------------------- training

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Sequence[Any] | None = None) -> None:
        """Choose how to train.

        optimizer: a name or an Optimizer. loss: a name, or an object with forward and backward. metrics: names, or
        functions (y_true, y_pred) → (total, count). Raises ValueError for an unknown name, with the nearest ones.
        """
        if loss is None:
            raise ValueError("compile needs a loss, e.g. loss='categorical_crossentropy'.")
        if isinstance(metrics, str):
            raise TypeError(f"metrics must be a list, received {metrics!r}. Use metrics=[{metrics!r}].")
        new_optimizer = optimizers.get(optimizer)
        new_loss, new_metrics = losses.get(loss), [metric_functions.get(metric) for metric in metrics or []]
        owner = None if new_optimizer.home is None else new_optimizer.home.owner
        if owner not in (None, self):
            raise ValueError("this optimizer holds the state of another model: create a new one.")
        names = ["loss", *(name for name, _ in new_metrics)]
        if len(set(names)) < len(names):
            raise ValueError(f"every metric needs a name of its own, and not 'loss', received {names[1:]}.")
        if not is_view(self):  # what it has taken over from other models is its own from now on
            for layer in self.layers:
                layer.home = Home(self) if home(layer) is not self else layer.home
        new_optimizer.home = Home(self)
        self.optimizer, self.loss, self.metrics = new_optimizer, new_loss, new_metrics
        self._engine.forget()
        self._engine.gather(self)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
    ) -> History:
        """Train for epochs − initial_epoch passes over the samples.

        x: (N, *input_shape). y: (N, …), as the loss wants it. batch_size: None means 32. validation_split: the share of the
        samples, the last ones before any shuffling, to validate on instead of training. validation_data: (x, y) or
        (x, y, sample_weight). verbose: 0 silent, 1 or "auto" a bar on a terminal and a line an epoch elsewhere, 2 a line an
        epoch. class_weight: class → weight. sample_weight: (N,).

        Returns the History, which is ``model.history`` from the beginning on. Raises RuntimeError before compile, ValueError
        or TypeError for data that does not fit, and FloatingPointError, naming epoch, batch and layer, when the loss is not
        finite; the weights are then those before that batch. A KeyboardInterrupt says where it stopped, after a whole step. A
        Ctrl-C waits for the work in hand: a part of a batch, but at first also the compilation of kernels that no cache holds.
        """
        batch_size = check_positive(32 if batch_size is None else batch_size, "batch_size")
        epochs = check_positive(epochs, "epochs")
        initial_epoch = check_count(initial_epoch, "initial_epoch")
        verbose = check_verbose(verbose)
        validation: Data | None = None
        if validation_data is not None:
            validation, _ = self._data(*_unpacked(validation_data), what="validation_data's x")
            validation_split = 0.0
        data, held_out = self._data(x, y, sample_weight, class_weight, validation_split=validation_split)
        stepper = Stepper(self, self._engine)

        history = History()
        steps = -(-len(data) // batch_size)
        progress = Progress(verbose, steps, epochs)
        hooks = [*([progress] if verbose else []), *one_by_one(callbacks), history]
        training = Training(
            stepper, data, validation or held_out, batch_size, shuffle, (initial_epoch, epochs), hooks, verbose
        )
        self.history = history
        try:
            with SingleThreadedBlas():
                training.run()
        finally:
            progress.close()
        return history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
    ) -> float | list[float] | Logs:
        """The loss, or [loss, metric, …] where there are metrics, or all by name with return_dict=True.

        batch_size: how many samples are worked on at once; None leaves it to the library. But for rounding, the
        result is the same.
        """
        batch_size = check_positive(EVALUATION_BATCH if batch_size is None else batch_size, "batch_size")
        data, _ = self._data(x, y, sample_weight)
        runner = self._engine.runner(self)
        hooks, progress = self._hooks(verbose, callbacks, len(data), batch_size)
        try:
            with SingleThreadedBlas():
                logs = evaluate(runner, data, batch_size, self.metrics, hooks)
        finally:
            progress.close()
        return self._result(logs, return_dict)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
    ) -> Array:
        """The predictions, (N, *output_shape), for x (N, *input_shape). The model need not be compiled."""
        batch_size = check_positive(EVALUATION_BATCH if batch_size is None else batch_size, "batch_size")
        data = Data(self._inputs(x))
        runner = self._engine.runner(self)
        out = np.empty((len(data), *(self.output_shape or ())), self.dtype)
        hooks, progress = self._hooks(verbose, callbacks, len(data), batch_size)
        try:
            with SingleThreadedBlas():
                hooks.on_predict_begin()
                for batch, where in enumerate(slices(len(data), batch_size)):
                    hooks.on_predict_batch_begin(batch)
                    runner.predict(data, where, out[where])
                    hooks.on_predict_batch_end(batch)
                hooks.on_predict_end()
        finally:
            progress.close()
        return out

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
    ) -> float | list[float] | Logs:
        """One step on these samples as one batch. Returns what evaluate does, of this batch before the step."""
        data, _ = self._data(x, y, sample_weight, class_weight)
        stepper = Stepper(self, self._engine)
        with SingleThreadedBlas():
            sums, gradients = stepper.gradients(data, slice(0, len(data)))
            stepper.step(gradients)
        return self._result(means(self.metrics, sums), return_dict)

    # ----------------------------------------------------------------------------------------------------- inspecting

    def loss_and_gradients(
        self, x: Any, y: Any, sample_weight: Any = None, *, training: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """The loss of these samples as one batch, and its gradient for every parameter by address, "layer/parameter".

        Changes nothing in the model; frozen layers have gradients, too. training: as in a training step, with dropout on (the
        masks of the next step).
        """
        data, _ = self._data(x, y, sample_weight)
        runner = self._engine.runner(self)
        with SingleThreadedBlas():
            key = derive_key(self.seed, FORWARD, self.steps_trained) if training else None
            lowest, everything = runner.plan.lowest_trained(()), [(0, runner.layout.size)]
            sums, (gradient, *others) = runner.gradients(data, slice(0, len(data)), key, lowest, everything)
        for other in others:
            gradient.vector += other.vector
        runner.release(others)
        return sums.loss / sums.samples, {address: gradient.named[address] for address in runner.layout.places}

    def trace(self, x: Any, y: Any, *, training: bool = False) -> Trace:
        """One forward and backward pass over these samples, layer by layer, with all that passes through: see ``Trace``.

        Changes nothing in the model. A softmax at the end that meets a crossentropy is one computation with it, as in
        training: the last layer's y are then the logits. training: as for loss_and_gradients.
        """
        data, _ = self._data(x, y)
        every = slice(0, len(data))
        layers, loss, softmax = on_logits(self.layers, self.loss)
        assert loss is not None
        rng = RandomKey(derive_key(self.seed, FORWARD, self.steps_trained), 0) if training else None
        with SingleThreadedBlas():
            found = backprop.trace(
                layers, loss, data.inputs(every, self.dtype), data.labels(every)[0], training=training, rng=rng
            )
        for address, first in self.ties().items():
            found.gradients[first] = found.gradients[first] + found.gradients.pop(address)
        if softmax is not None:
            found.notes.append(
                "The softmax and the loss are one computation: the last layer's y and dy are those of the logits."
            )
        return found

    # ----------------------------------------------------------------------------------------------------------- files

    def save(self, filepath: Path, overwrite: bool = True) -> None:
        """Write all of the model to one file, for ``load_model``: training goes on from it as if it had never stopped.

        The file is a safetensors file: weights and the optimizer's state as arrays, everything else as JSON in its metadata.
        Of a custom layer, loss, metric or function it holds the name, and the settings.

        Raises OSError where it cannot be written (the file of that name is then as it was), FileExistsError where it is there
        and overwrite is False, and ValueError where the model is not built, has more than 1000 layers, or settings that JSON
        cannot hold.
        """
        model_files.save(self, filepath, overwrite)

    def save_weights(self, filepath: Path, overwrite: bool = True) -> None:
        """Write the weights alone to a safetensors file, by address, "layer/parameter". Raises what ``save`` does."""
        model_files.save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Path) -> None:
        """Take the weights from a file of ``save_weights`` or ``save``, by address, "layer/parameter".

        Raises OSError where it cannot be read, and ValueError where it is no such file, or where its arrays are not this
        model's: it lists those that are missing, unexpected or of another shape. The model is then as it was.
        """
        model_files.load_weights(self, filepath)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy the arrays into the weights, in the order of get_weights. ValueError, and no change, where they do not fit."""
        with Uninterrupted():
            super().set_weights(weights)

    def get_config(self) -> Config:
        """What ``from_config`` makes this model again from, with new weights: settings, layers and the shape of a sample."""
        return model_files.get_config(self)

    @classmethod
    def from_config(cls, config: Any, custom_objects: CustomObjects | None = None) -> "Sequential":
        """A new model from what get_config gave, with the initial weights that follow from its seed.

        custom_objects: name → class or function, for those that are not the library's. Raises ValueError or TypeError where
        the config is no such thing.
        """
        model: Sequential
        model, input_shape = model_files.unbuilt(cls, config, custom_objects or {})
        if input_shape is not None:
            model.build(input_shape)
        return model

    def to_json(self, **options: Any) -> str:
        """get_config as a JSON text, for ``model_from_json``. options: json.dumps's, e.g. indent=2."""
        return configs.to_json({"class_name": "Sequential", "config": self.get_config()}, **options)

    # ------------------------------------------------------------------------------------------------------- internals

    def _inputs(self, x: Any, what: str = "x") -> Any:
        """x, checked against the model; the first data builds a model that does not know its input yet."""
        if not self.layers:
            raise ValueError(f"{self} has no layers: add some first.")
        # or another thread, too, would find it unbuilt, and allocate other weights in the middle of our work
        with _building:
            self._notice_changes()
            if not self.built:
                self.build(self.input_shape or tuple(check_array(x, what).shape[1:]))
        return check_input(x, self.input_shape or (), str(self), what)

    def _data(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Any = None,
        *,
        what: str = "x",
        validation_split: Any = 0.0,
    ) -> tuple[Data, Data | None]:
        """x, y and weights, checked and together; and the part to validate on."""
        if self.loss is None:
            raise RuntimeError(f"{self} must be compiled first: call compile(loss=…, optimizer=…).")
        x = self._inputs(x, what)

        def prepare(labels: Array) -> Array:
            prepared: Array = self.loss.prepare(labels, self.output_shape) if hasattr(self.loss, "prepare") else labels
            return prepared

        return collect(x, y, sample_weight, class_weight, prepare=prepare, what=what, validation_split=validation_split)

    def _hooks(
        self, verbose: int | str, callbacks: Sequence[Callback] | Callback | None, n: int, batch_size: int
    ) -> tuple[CallbackList, Progress]:
        """The hooks of one evaluate or predict, and the progress among them."""
        verbose, steps = check_verbose(verbose), -(-n // batch_size)
        progress = Progress(verbose, steps)
        shown = [progress] if verbose else []
        return CallbackList([*shown, *one_by_one(callbacks)], self, {"steps": steps, "verbose": verbose}), progress

    def _result(self, logs: Logs, return_dict: bool) -> float | list[float] | Logs:
        if return_dict:
            return logs
        values = [logs["loss"], *(logs[name] for name, _ in self.metrics)]
        return values if self.metrics else values[0]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in ("_engine", "_known")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._engine, self._known = Engine(), self._inside()
        if self.optimizer is not None and self.optimizer.home is None:
            self.optimizer.home = Home(self)


def _unpacked(validation_data: Any) -> tuple[Any, ...]:
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise ValueError(
            f"validation_data must be (x, y) or (x, y, sample_weight), received {type(validation_data).__name__}."
        )
    return tuple(validation_data)
