"""Sequential: the model that users write, a stack of layers trained with fit."""

import errno
import math
import os
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import configs, losses, optimizers, saving
from . import metrics as metric_functions
from .callbacks import Callback, CallbackList, History
from .engine.data import Data, check_array, check_input, check_lengths, check_weights, class_weights
from .engine.interrupts import Uninterrupted
from .engine.plan import Plan
from .engine.runner import Runner
from .engine.workers import SingleThreadedBlas
from .layers import Input
from .layers.base import Shape, check_name, check_positive, check_shape, copy_weights
from .ops import OPERATIONS
from .ops.geometry import Array
from .ops.random import FORWARD, INITIALIZE, derive_key, generator
from .progress import Progress, check_verbose
from .training import Training, evaluate, find_gradients, make_step, means, slices
from .utils.integers import is_integer
from .utils.lookup import by_name

EVALUATION_BATCH = 500  # samples; but for rounding, the result does not depend on it
MOST_LAYERS = 1000  # in a file; to add a layer takes the longer, the more there are

_building = threading.RLock()  # not the model's own, which could then not be copied; a layer's build may build a model
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork; a child must not find it taken
    os.register_at_fork(before=_building.acquire, after_in_parent=_building.release, after_in_child=_building.release)


class Sequential:
    """A stack of layers: what one gives, the next one takes.

    Arguments: layers: to add at once. name: shown in messages and in the summary. seed: an integer ≥ 0; from it follow the
    initial weights, the shuffling and the dropout; None draws one, kept in ``model.seed``. dtype: "float32", or "float64" for
    proofs. ops: "kernels" (fast) or "reference" (NumPy, to read and to step through). fuse: False runs every layer as a step
    of its own, also where neighbours have one fused kernel.

    A model is built, its weights allocated, as soon as it knows the shape of a sample: from Input(shape) or the first layer's
    ``input_shape``; otherwise from the first data that it sees.
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
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise ValueError(f"a model's name must be a text or None, received {name!r}.")
        self.name = name or "sequential"
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if not is_integer(seed) or seed < 0:
            raise ValueError(f"seed must be an integer ≥ 0 or None, received {seed!r}.")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', received {dtype!r}.")
        self.seed = int(seed)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.ops = by_name(OPERATIONS, ops, "set of operations")
        self.fuse = bool(fuse)
        self.layers: list[Any] = []
        self.input_shape: Shape | None = None
        self.optimizer: Any = None
        self.loss: Any = None
        self.metrics: list[tuple[str, Any]] = []
        self.stop_training = False
        self.history: History | None = None  # of the last fit, or of the one that runs
        # In the model's life: a second fit, or compile, repeats neither the shuffles nor the dropout of the first.
        self.epochs_trained = 0
        self.steps_trained = 0
        self._runner: Runner | None = None
        if layers is not None and not isinstance(layers, Sequence):
            raise TypeError(f"{self} layers must be a list of layers, received {layers!r}.")
        for layer in layers or []:
            self.add(layer)

    # ------------------------------------------------------------------------------------------------------ building

    def add(self, layer: Any) -> None:
        """Put a layer on top: one of ours, or any object with params, build, forward and backward.

        Raises TypeError for something else, ValueError where it does not fit the layers below or its name is taken; the
        model is then as it was.
        """
        missing = [part for part in ("params", "build", "forward", "backward") if not hasattr(layer, part)]
        if isinstance(layer, type) or missing:
            raise TypeError(
                f"{self} add expects a layer, an object with params, build, forward and backward, received {layer!r}"
                + (", a class: create the layer with (…)." if isinstance(layer, type) else f", without {missing[0]}.")
            )
        if isinstance(layer, Input):
            if self.layers or self.input_shape:
                raise ValueError(
                    f"{self}: Input must come first and once, received it after {len(self.layers)} layers."
                )
            self.input_shape = layer.input_shape
            return
        if any(layer is other for other in self.layers):
            raise ValueError(f"{self} already holds the layer {layer.name!r}: create a new one to add it twice.")
        if getattr(layer, "in_model", False):
            raise ValueError(f"the layer {layer.name!r} belongs to another model: create a new one for {self}.")
        given = getattr(layer, "name", None)
        name = check_name(given) if given else self._number(layer)
        if any(name == other.name for other in self.layers):
            raise ValueError(f"{self} already has a layer named {name!r}: every layer needs a name of its own.")
        shape = self.output_shape if self.layers else self.input_shape or getattr(layer, "input_shape", None)
        promised = getattr(layer, "input_shape", None)
        if promised is not None and shape is not None and tuple(promised) != tuple(shape):
            raise ValueError(f"layer {name!r}: input_shape={promised} contradicts what comes before it, {shape}.")
        layer.name, layer.ops, layer.output_shape = name, self.ops, None
        if shape is not None:
            try:
                self._build_layer(layer, shape, len(self.layers))
            except Exception:
                layer.name = given
                raise
        layer.in_model = True
        if not self.layers and shape is not None:
            self.input_shape = shape
        self.layers.append(layer)
        self._runner = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Allocate the weights for samples of this shape. Data does the same when it first comes.

        input_shape: without the batch axis; a None in front, which stands for it in Keras, is left out.
        """
        if self.built:
            raise ValueError(f"{self} is already built, for input_shape={self.input_shape}.")
        given = tuple(input_shape)
        shape = given_shape = check_shape(given[1:] if given[:1] == (None,) else given, f"{self} input_shape")
        before = [(layer, layer.params, getattr(layer, "input_shape", None)) for layer in self.layers]
        try:
            for position, layer in enumerate(self.layers):
                shape = self._build_layer(layer, shape, position)
        except Exception:
            for layer, params, promised in before:
                layer.params, layer.input_shape, layer.output_shape = params, promised, None
            raise
        self.input_shape = given_shape

    @property
    def built(self) -> bool:
        """Whether the weights are allocated."""
        return bool(self.layers) and all(layer.output_shape is not None for layer in self.layers)

    @property
    def output_shape(self) -> Shape | None:
        """The shape of one prediction; None before the model is built."""
        return self.layers[-1].output_shape if self.layers else None

    def _build_layer(self, layer: Any, shape: Shape, position: int) -> Shape:
        output = layer.build(shape, generator(self.seed, INITIALIZE, position), self.dtype)
        output = check_shape(output, f"layer {layer.name!r}: what build returns")
        # The optimizer changes the arrays in place, as floats of the model's, through flat views.
        layer.params = {name: np.require(value, self.dtype, ["C", "W"]) for name, value in layer.params.items()}
        layer.input_shape, layer.output_shape = shape, output
        return output

    def _number(self, layer: Any) -> str:
        """max_pooling2d, max_pooling2d_1, max_pooling2d_2, …"""
        base = re.sub("(?<=.)([A-Z][a-z]|(?<=[a-z])[A-Z])", r"_\1", type(layer).__name__).lower()
        taken = {other.name for other in self.layers}
        count = sum(type(other) is type(layer) for other in self.layers)
        while (name := f"{base}_{count}" if count else base) in taken:
            count += 1
        return name

    def __str__(self) -> str:
        return f"model {self.name!r}"

    # ----------------------------------------------------------------------------------------------------- inspecting

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of that name, or at that index. Raises ValueError where there is none."""
        if (name is None) == (index is None):
            raise ValueError("get_layer expects either a name or an index.")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"{self} has {len(self.layers)} layers, received index {index}.")
            return self.layers[index]
        return by_name({layer.name: layer for layer in self.layers}, str(name), f"layer in {self}")

    @property
    def params(self) -> dict[str, Array]:
        """All parameters by address, "layer/parameter": the arrays themselves, not copies."""
        return {f"{layer.name}/{name}": value for layer in self.layers for name, value in layer.params.items()}

    def count_params(self) -> int:
        """How many numbers the model learns."""
        return sum(value.size for value in self.params.values())

    def get_weights(self) -> list[Array]:
        """Copies of all parameters, layer by layer."""
        return [value.copy() for value in self.params.values()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Copy the arrays into the parameters, in the order of get_weights. ValueError, and no change, where they do not fit."""
        with Uninterrupted():
            copy_weights(list(self.params.items()), list(weights), str(self))

    def summary(self) -> None:
        """Print a table of the layers, their output shapes and their parameters."""
        if not self.built:
            raise ValueError(f"{self} is not built: give its first layer an input_shape, or call build(input_shape).")
        from rich.console import Console
        from rich.table import Table

        table = Table("Layer (type)", "Output Shape", title=f'Model: "{self.name}"', title_justify="left")
        table.add_column("Param #", justify="right")
        for layer in self.layers:
            size = sum(value.size for value in layer.params.values())
            shape = ", ".join(map(str, ("None", *layer.output_shape)))
            table.add_row(f"{layer.name} ({type(layer).__name__})", f"({shape})", f"{size:,}")
        total = self.count_params()
        console = Console(highlight=False)
        console.print(table)
        console.print(f" Total params: {_params_text(total, self.dtype)}")
        console.print(f" Trainable params: {_params_text(total, self.dtype)}")
        console.print(f" Non-trainable params: {_params_text(0, self.dtype)}")

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
        if new_optimizer is not self.optimizer and new_optimizer.in_model:
            raise ValueError("this optimizer holds the state of another model: create a new one.")
        names = ["loss", *(name for name, _ in new_metrics)]
        if len(set(names)) < len(names):
            raise ValueError(f"every metric needs a name of its own, and not 'loss', received {names[1:]}.")
        new_optimizer.in_model = True
        self.optimizer, self.loss, self.metrics = new_optimizer, new_loss, new_metrics
        self._runner = None

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
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
        first, last = _check_epochs(initial_epoch, epochs)
        verbose = check_verbose(verbose)
        validation: Data | None = None
        if validation_data is not None:
            validation = self._data(*_unpack(validation_data), what="validation_data's x")
        elif validation_split:
            (x, y, sample_weight), held_out = _split(x, y, sample_weight, validation_split)
            validation = self._data(*held_out, what="the validation split's x")
        data = self._data(x, y, sample_weight, class_weight)
        runner = self._require_runner()

        history = History()
        steps = -(-len(data) // batch_size)
        progress = Progress(verbose, steps, last)
        hooks = [*([progress] if verbose else []), *_listed(callbacks), history]
        training = Training(self, runner, data, validation, batch_size, shuffle, (first, last), hooks, verbose)
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
        verbose: Any = "auto",
        sample_weight: Any = None,
        callbacks: Sequence[Callback] | Callback | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss, or [loss, metric, …] where there are metrics, or all by name with return_dict=True.

        batch_size: how many samples are worked on at once; None leaves it to the library. But for rounding, the
        result is the same.
        """
        batch_size = check_positive(EVALUATION_BATCH if batch_size is None else batch_size, "batch_size")
        data = self._data(x, y, sample_weight)
        runner = self._require_runner()
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
        verbose: Any = "auto",
        callbacks: Sequence[Callback] | Callback | None = None,
    ) -> Array:
        """The predictions, (N, *output_shape), for x (N, *input_shape). The model need not be compiled."""
        batch_size = check_positive(EVALUATION_BATCH if batch_size is None else batch_size, "batch_size")
        data = Data(self._inputs(x))
        runner = self._require_runner()
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
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on these samples as one batch. Returns what evaluate does, of this batch before the step."""
        data = self._data(x, y, sample_weight, class_weight)
        runner = self._require_runner()
        with SingleThreadedBlas():
            sums, gradients = find_gradients(self, runner, data, slice(0, len(data)))
            make_step(self, runner, gradients)
        return self._result(means(self.metrics, sums), return_dict)

    def loss_and_gradients(
        self, x: Any, y: Any, sample_weight: Any = None, *, training: bool = False
    ) -> tuple[float, dict[str, Array]]:
        """The loss of these samples as one batch, and its gradient for every parameter by address, "layer/parameter".

        Changes nothing in the model. training: as in a training step, with dropout on (the masks of the next step).
        """
        data = self._data(x, y, sample_weight)
        key = derive_key(self.seed, FORWARD, self.steps_trained) if training else None
        with SingleThreadedBlas():
            # a runner of its own: the model's keeps the gradients of a training that may be at work in another thread
            sums, parts = self._make_runner().gradients(data, slice(0, len(data)), key)
        gradients = {name: sum((part[name] for part in parts[1:]), parts[0][name].copy()) for name in self.params}
        return sums.loss / sums.samples, gradients

    # ----------------------------------------------------------------------------------------------------------- files

    def save(self, filepath: saving.Path, overwrite: bool = True) -> None:
        """Write all of the model to one file, for ``load_model``: training goes on from it as if it had never stopped.

        The file is a safetensors file: weights and the optimizer's state as arrays, everything else as JSON in its metadata.
        Of a custom layer, loss, metric or function it holds the name, and the settings.

        Raises OSError where it cannot be written (the file of that name is then as it was), FileExistsError where it is there
        and overwrite is False, and ValueError where the model is not built, has more than 1000 layers, or settings that JSON
        cannot hold.
        """
        self._check_target(filepath, overwrite)
        if len(self.layers) > MOST_LAYERS:
            raise ValueError(f"{self} has {len(self.layers)} layers: a file may hold {MOST_LAYERS}.")
        counters, arrays = saving.training_state(self)
        content = {"model": self.get_config(), "training": self._training_config(), "state": counters}
        saving.write(filepath, "model", content, arrays)

    def save_weights(self, filepath: saving.Path, overwrite: bool = True) -> None:
        """Write the weights alone to a safetensors file, by address, "layer/parameter". Raises what ``save`` does."""
        self._check_target(filepath, overwrite)
        saving.write(filepath, "weights", {}, self.params)

    def load_weights(self, filepath: saving.Path) -> None:
        """Take the weights from a file of ``save_weights`` or ``save``, by address, "layer/parameter".

        Raises OSError where it cannot be read, and ValueError where it is no such file, or where its arrays are not this
        model's: it lists those that are missing, unexpected or of another shape. The model is then as it was.
        """
        if not self.built:
            raise ValueError(f"{self} is not built: give its first layer an input_shape, or call build(input_shape).")
        _, arrays = saving.read(filepath, "weights", "model")
        weights = {name: value for name, value in arrays.items() if not name.startswith(saving.SLOTS)}
        try:
            with Uninterrupted():
                saving.copy_by_name(self.params, weights, str(self))
        except ValueError as error:
            raise saving.refusal(filepath, f"cannot be loaded: {error}") from error

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` makes this model again from, with new weights: settings, layers and the shape of a sample."""
        return {
            "name": self.name,
            "seed": self.seed,
            "dtype": self.dtype.name,
            "ops": next(name for name, module in OPERATIONS.items() if module is self.ops),
            "fuse": self.fuse,
            "input_shape": self.input_shape,
            "layers": [configs.describe(layer, configs.LAYERS) for layer in self.layers],
        }

    @classmethod
    def from_config(cls, config: Any, custom_objects: configs.CustomObjects | None = None) -> "Sequential":
        """A new model from what get_config gave, with the initial weights that follow from its seed.

        custom_objects: name → class or function, for those that are not the library's. Raises ValueError or TypeError where
        the config is no such thing.
        """
        model, input_shape = cls._unbuilt(config, custom_objects or {})
        if input_shape is not None:
            model.build(input_shape)
        return model

    @classmethod
    def _unbuilt(cls, config: Any, custom_objects: configs.CustomObjects) -> "tuple[Sequential, Shape | None]":
        """The model of a config, without weights, and the shape of a sample, where it says one."""
        if not isinstance(config, dict) or not isinstance(config.get("layers"), list | tuple):
            raise ValueError(f"a model's config must be a dictionary with a list of layers, found {config!r}.")
        if len(config["layers"]) > MOST_LAYERS:
            raise ValueError(f"a model's config may hold {MOST_LAYERS} layers, found {len(config['layers'])}.")
        arguments = {key: value for key, value in config.items() if key not in ("layers", "input_shape")}
        model = cls(**arguments)
        shape = config.get("input_shape")
        for position, entry in enumerate(config["layers"]):
            layer = configs.make(entry, configs.LAYERS, custom_objects, f"layer {position}")
            promised = getattr(layer, "input_shape", None)
            if promised is not None:
                layer.input_shape = None  # or add would build it, however large
            if position == 0 and shape is None:
                shape = promised
            model.add(layer)
        return model, None if shape is None else check_shape(shape, "input_shape")

    def to_json(self, **options: Any) -> str:
        """get_config as a JSON text, for ``model_from_json``. options: json.dumps's, e.g. indent=2."""
        return saving.to_json({"class_name": "Sequential", "config": self.get_config()}, **options)

    def _check_target(self, filepath: saving.Path, overwrite: bool) -> None:
        if not self.built:
            raise ValueError(f"{self} is not built and has no weights to save: call build(input_shape), or fit.")
        saving.check_suffix(filepath, str(self))
        if not overwrite and os.path.exists(filepath):
            raise FileExistsError(
                errno.EEXIST, "the file is there already, and overwrite is False", os.fsdecode(filepath)
            )

    def _training_config(self) -> dict[str, Any] | None:
        """What compile was called with; None before it was."""
        if self.optimizer is None:
            return None
        return {
            "optimizer": configs.describe(self.optimizer, configs.OPTIMIZERS),
            "loss": configs.describe(self.loss, configs.LOSSES),
            "metrics": [configs.describe_metric(name, metric) for name, metric in self.metrics],
        }

    # ------------------------------------------------------------------------------------------------------- internals

    def _inputs(self, x: Any, what: str = "x") -> Any:
        """x, checked against the model; the first data builds a model that does not know its input yet."""
        if not self.layers:
            raise ValueError(f"{self} has no layers: add some first.")
        # or another thread, too, would find it unbuilt, and allocate other weights in the middle of our work
        with _building:
            if not self.built:
                self.build(self.input_shape or tuple(check_array(x, what).shape[1:]))
        return check_input(x, self.input_shape or (), str(self), what)

    def _data(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        *,
        what: str = "x",
    ) -> Data:
        """x, y and weights, checked and together."""
        if self.loss is None:
            raise RuntimeError(f"{self} must be compiled first: call compile(loss=…, optimizer=…).")
        x = self._inputs(x, what)
        if y is None:
            raise ValueError("y is missing: expected a label for each sample.")
        y = check_array(y, "y")
        check_lengths(x=x, y=y)
        y = np.asarray(y)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise ValueError("y holds NaN or infinity. Remove or replace such samples.")
        weights = check_weights(sample_weight, len(x))
        if class_weight is not None:
            by_class = class_weights(dict(class_weight), y)
            weights = by_class if weights is None else weights * by_class
        if hasattr(self.loss, "prepare"):
            y = self.loss.prepare(y, self.output_shape)
        return Data(x, y, weights, what)

    def _require_runner(self) -> Runner:
        if self._runner is None:
            self._runner = self._make_runner()
        return self._runner

    def _make_runner(self) -> Runner:
        plan = Plan(self.layers, self.loss, self.fuse)
        return Runner(plan, self.layers, [metric for _, metric in self.metrics], self.dtype)

    def _hooks(
        self, verbose: Any, callbacks: Sequence[Callback] | Callback | None, n: int, batch_size: int
    ) -> tuple[CallbackList, Progress]:
        """The hooks of one evaluate or predict, and the progress among them."""
        verbose, steps = check_verbose(verbose), -(-n // batch_size)
        progress = Progress(verbose, steps)
        shown = [progress] if verbose else []
        return CallbackList([*shown, *_listed(callbacks)], self, {"steps": steps, "verbose": verbose}), progress

    def _result(self, logs: dict[str, float], return_dict: bool) -> Any:
        if return_dict:
            return logs
        values = [logs["loss"], *(logs[name] for name, _ in self.metrics)]
        return values if self.metrics else values[0]


def load_model(
    filepath: saving.Path, custom_objects: configs.CustomObjects | None = None, compile: bool = True
) -> Sequential:
    """The model of a file that ``model.save`` has written: training goes on from it as if it had never stopped.

    custom_objects: name → class or function, for each custom layer, loss, metric or function in the file; nothing is ever
    imported because a file says so. compile: False leaves the model uncompiled, to predict with.

    Raises OSError where the file cannot be read, and ValueError where it is of another kind, of a newer version or damaged, or
    where custom_objects is missing something. It takes no more memory than a few times the file's size.
    """
    content, arrays = saving.read(filepath, "model")
    try:
        return _restored(content, arrays, custom_objects or {}, compile)
    except Exception as error:  # whatever goes wrong now, goes wrong because of what the file says
        raise saving.refusal(filepath, f"cannot be loaded: {error}") from error


def _restored(
    content: dict[str, Any], arrays: dict[str, Array], custom_objects: configs.CustomObjects, compile: bool
) -> Sequential:
    model, input_shape = Sequential._unbuilt(content.get("model"), custom_objects)
    if input_shape is None:
        raise ValueError("it does not say the shape of a sample.")
    ours = [layer for layer in model.layers if getattr(type(layer), "build", None) in configs.BUILDS]
    with saving.initialized_with(ours, arrays):
        model.build(input_shape)
    training = content.get("training")
    if compile and training is not None:
        model.compile(**configs.training_arguments(training, custom_objects))
    else:
        arrays = {name: value for name, value in arrays.items() if not name.startswith(saving.SLOTS)}
    saving.set_training_state(model, content.get("state"), arrays)
    return model


def model_from_json(json_string: str, custom_objects: configs.CustomObjects | None = None) -> Sequential:
    """A new model from the text of ``model.to_json``, with new weights. Raises what Sequential.from_config does."""
    config = saving.parse(json_string)
    if not isinstance(config, dict) or config.get("class_name") != "Sequential":
        raise ValueError("a model's text must be that of to_json: {'class_name': 'Sequential', 'config': …}.")
    return Sequential.from_config(config.get("config"), custom_objects)


def _listed(callbacks: Sequence[Callback] | Callback | None) -> list[Callback]:
    """One by one, also those of a CallbackList: each may have a state to keep."""
    given = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
    return [each for one in given for each in (_listed(one.callbacks) if type(one) is CallbackList else [one])]


def _check_epochs(initial_epoch: Any, epochs: Any) -> tuple[int, int]:
    last = check_positive(epochs, "epochs")
    if not is_integer(initial_epoch) or initial_epoch < 0:
        raise ValueError(f"initial_epoch must be an integer ≥ 0, received {initial_epoch!r}.")
    return int(initial_epoch), last


def _unpack(validation_data: Any) -> tuple[Any, ...]:
    if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
        raise ValueError(
            f"validation_data must be (x, y) or (x, y, sample_weight), received {type(validation_data).__name__}."
        )
    return tuple(validation_data)


def _split(x: Any, y: Any, weight: Any, share: Any) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """The first samples to train on and the last ones to validate on."""
    if isinstance(share, bool) or not isinstance(share, int | float | np.number) or not 0 <= share < 1:
        raise ValueError(f"validation_split must be a number in [0, 1), received {share!r}.")
    x, y = check_array(x, "x"), None if y is None else check_array(y, "y")
    check_lengths(x=x, y=y)
    cut = math.floor(len(x) * (1 - share))
    if not 0 < cut < len(x):
        raise ValueError(
            f"validation_split={share} of {len(x)} samples leaves none to train on or none to validate on."
        )
    weight = check_weights(weight, len(x))
    parts = [None if part is None else (part[:cut], part[cut:]) for part in (x, y, weight)]
    first, second = ([None if part is None else part[side] for part in parts] for side in (0, 1))
    return tuple(first), tuple(second)  # type: ignore[return-value]


def _params_text(count: int, dtype: np.dtype[Any]) -> str:
    size = float(count * dtype.itemsize)
    for unit in ("B", "KB", "MB"):
        if size < 1024 or unit == "MB":
            break
        size /= 1024
    return f"{count:,} ({size:.2f} {unit})"
