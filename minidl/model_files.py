"""A model as settings and as a file: what is stored, and how the model is rebuilt from it."""

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from . import configs, ranks, saving, state
from .checks import check_shape
from .configs import LAYERS
from .contracts import JSON, Array, Config, CustomObjects, DType, LossLike, MetricFunction, MetricLike, Path, Shape
from .engine.interrupts import Uninterrupted
from .layers import Stack
from .ops import set_name

if TYPE_CHECKING:
    from .optimizers import Optimizer

Model = TypeVar("Model", bound="Storable")


class Storable(Stack):
    """A model that can be stored: its settings as JSON, the whole model or its weights alone as a file.

    Attributes: those of ModelLike, set by the subclass.
    """

    seed: int
    dtype: DType
    fuse: bool
    optimizer: "Optimizer | None"
    loss: LossLike | None
    metrics: list[tuple[str, MetricLike]]
    epochs_trained: int
    steps_trained: int
    stop_training: bool

    def notice_changes(self) -> None:
        """Where a list of layers was changed by hand, check that they fit together, and build the new ones."""
        raise NotImplementedError

    def compile(
        self,
        optimizer: "str | Optimizer",
        loss: str | LossLike | None,
        metrics: Sequence[str | MetricLike | MetricFunction] | None,
    ) -> None:
        """Choose how to train."""
        raise NotImplementedError

    def save(self, filepath: Path, overwrite: bool = True) -> None:
        """Write the whole model to one file, for ``load_model``: training continues from it as if it had never stopped.

        The file is a safetensors file: weights and the optimizer's state as arrays, everything else as JSON in its metadata.
        Custom layers, losses, metrics and functions are stored by name, with their settings.

        Raises OSError where it cannot be written (an existing file is then unchanged), FileExistsError where it exists and
        overwrite is False, and ValueError where the model is not built, or has more than 1000 layers, or settings that JSON
        cannot hold.
        """
        for stack in self.stacks():
            if len(stack.layers) > configs.MOST_LAYERS:
                raise ValueError(f"{stack} has {len(stack.layers)} layers: a file may hold {configs.MOST_LAYERS}.")
        _check_target(self, filepath, overwrite)
        counters, arrays = state.get_state(self)
        content = {"model": self.get_config(), "training": _training_config(self), "state": counters}
        saving.write(filepath, "model", content | _ties(self), arrays)

    def save_weights(self, filepath: Path, overwrite: bool = True) -> None:
        """Write the weights alone to a safetensors file, by address, "layer/parameter". Raises what ``save`` does."""
        _check_target(self, filepath, overwrite)
        saving.write(filepath, "weights", _ties(self), self.weights)

    def load_weights(self, filepath: Path) -> None:
        """Load the weights from a file written by ``save_weights`` or ``save``, by address, "layer/parameter".

        Raises OSError where it cannot be read, and ValueError where it is not such a file, or where its arrays are not this
        model's: the message lists those that are missing, unexpected or of another shape. The model is then unchanged.
        """
        self.notice_changes()
        if not self.built:
            raise ValueError(f"{self} is not built: give its first layer an input_shape, or call build(input_shape).")
        content, arrays = saving.read(filepath, "weights", "model")
        weights = {name: value for name, value in arrays.items() if not name.startswith(state.SLOTS)}
        ties = content.get("ties", {})
        if not isinstance(ties, dict) or not all(isinstance(first, str) for first in ties.values()):
            raise saving.refusal(filepath, f"is damaged: its ties must be two addresses each, found {ties!r}.")
        # a model that does not tie them gets the same values in both places
        weights |= {name: weights[first] for name, first in ties.items() if name in self.weights and first in weights}
        try:
            with Uninterrupted():
                state.copy_by_name(self.weights, weights, str(self))
        except ValueError as error:
            raise saving.refusal(filepath, f"cannot be loaded: {error}") from error

    def get_config(self) -> Config:
        """What ``from_config`` needs to recreate this model with new weights: settings, layers and the shape of a sample."""
        config = {
            "name": self.name,
            "seed": self.seed,
            "dtype": self.dtype.name,
            "ops": set_name(self.ops),
            "fuse": self.fuse,
            "input_shape": self.input_shape,
            "layers": [configs.describe(layer, _layers(type(self))) for layer in self.layers],
        }
        return config if self.trainable else config | {"trainable": False}

    @classmethod
    def from_config(cls, config: object, custom_objects: CustomObjects | None = None) -> Self:
        """A new model from the result of get_config, with the initial weights that follow from its seed.

        custom_objects: name → class or function, for those that are not the library's. Raises ValueError or TypeError where
        the config is not valid.
        """
        configs.check_custom_objects(custom_objects)
        model, input_shape = unbuilt(cls, config, custom_objects or {})
        if input_shape is not None:
            model.build(input_shape)
        return model

    def to_json(self, **options: Any) -> str:
        """get_config as a JSON string, for ``model_from_json``. options: json.dumps's, e.g. indent=2."""
        return configs.to_json({"class_name": "Sequential", "config": self.get_config()}, **options)


def _layers(cls: type[Storable]) -> Config:
    """The library's layer classes, with the model's own, which may also be that of a stack inside it."""
    ours = next(each for each in cls.__mro__ if each.__module__.startswith(f"{__package__}."))
    return LAYERS | {ours.__name__: ours}


def unbuilt(cls: type[Model], config: object, custom_objects: CustomObjects) -> tuple[Model, Shape | None]:
    """The model of a config, without weights, and the shape of a sample, or None where the config has none."""
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list | tuple):
        raise ValueError(f"a model's config must be a dictionary with a list of layers, found {config!r}.")
    configs.check_length(config["layers"], "a model's config")
    model = cls(**{key: value for key, value in config.items() if key not in ("layers", "input_shape")})
    shape = config.get("input_shape")
    for place, entry in enumerate(config["layers"]):
        layer = configs.make(entry, _layers(cls), custom_objects, f"layer {place}")
        promised = getattr(layer, "input_shape", None)
        if promised is not None:
            layer.input_shape = None  # or add would build it, however large
        if place == 0 and shape is None:
            shape = promised
        model.add(layer)
    return model, None if shape is None else check_shape(shape, "input_shape")


def restored(
    cls: type[Model], content: dict[str, JSON], arrays: dict[str, Array], custom_objects: CustomObjects, compile: bool
) -> Model:
    """The model of a file's content. Any exception raised here is the fault of the file."""
    model, input_shape = unbuilt(cls, content.get("model"), custom_objects)
    if input_shape is None:
        raise ValueError("it does not say the shape of a sample.")
    ties = content.get("ties", {})
    with state.initialized_with(model, arrays, ties):
        model.build(input_shape)
    model.tie(ties)
    training = content.get("training")
    if compile and training is not None:
        model.compile(**configs.training_arguments(training, custom_objects))
    else:
        arrays = {name: value for name, value in arrays.items() if not name.startswith(state.SLOTS)}
    state.set_state(model, content.get("state"), arrays)
    return model


def _training_config(model: Storable) -> Config | None:
    """What compile was called with; None before the first call."""
    if model.optimizer is None:
        return None
    return {
        "optimizer": configs.describe(model.optimizer, configs.OPTIMIZERS),
        "loss": configs.describe(model.loss, configs.LOSSES),
        "metrics": [configs.describe_metric(metric) for _, metric in model.metrics],
    }


def _ties(model: Stack) -> Config:
    """The file's entry for tied parameters, if there are any."""
    ties = model.ties()
    return {"ties": ties} if ties else {}


def _check_target(model: Storable, filepath: Path, overwrite: bool) -> None:
    model.notice_changes()
    if not model.built:
        raise ValueError(f"{model} is not built and has no weights to save: call build(input_shape), or fit.")
    saving.check_suffix(filepath, str(model))
    if not overwrite and ranks.group.once(lambda: os.path.exists(filepath)):
        raise FileExistsError(errno.EEXIST, "the file is there already, and overwrite is False", os.fsdecode(filepath))
