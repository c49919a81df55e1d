"""A model as settings and as a file: what is written of it, and how it is made again from that."""

import errno
import os
from typing import Any

from . import configs, saving, state
from .checks import check_shape
from .configs import LAYERS
from .contracts import Array, Config, CustomObjects, Path, Shape
from .engine.interrupts import Uninterrupted
from .layers import Stack
from .ops import set_name


def get_config(model: Any) -> Config:
    """The settings of a Sequential, its layers, and the shape of a sample."""
    config = {
        "name": model.name,
        "seed": model.seed,
        "dtype": model.dtype.name,
        "ops": set_name(model.ops),
        "fuse": model.fuse,
        "input_shape": model.input_shape,
        "layers": [configs.describe(layer, _layers(model)) for layer in model.layers],
    }
    return config if model.trainable else config | {"trainable": False}


def _layers(model: Any) -> Config:
    """The classes of layers that are the library's; the model's own class stands for stacks inside it."""
    root = next(cls for cls in type(model).__mro__ if cls.__module__.startswith(__package__ or ""))
    return LAYERS | {root.__name__: root}


def unbuilt(cls: Any, config: Any, custom_objects: CustomObjects) -> tuple[Any, Shape | None]:
    """The model of a config, without weights, and the shape of a sample, where it says one."""
    if not isinstance(config, dict) or not isinstance(config.get("layers"), list | tuple):
        raise ValueError(f"a model's config must be a dictionary with a list of layers, found {config!r}.")
    configs.check_length(config["layers"], "a model's config")
    model = cls(**{key: value for key, value in config.items() if key not in ("layers", "input_shape")})
    shape = config.get("input_shape")
    for place, entry in enumerate(config["layers"]):
        layer = configs.make(entry, _layers(model), custom_objects, f"layer {place}")
        promised = getattr(layer, "input_shape", None)
        if promised is not None:
            layer.input_shape = None  # or add would build it, however large
        if place == 0 and shape is None:
            shape = promised
        model.add(layer)
    return model, None if shape is None else check_shape(shape, "input_shape")


def save(model: Any, filepath: Path, overwrite: bool) -> None:
    """All of the model, see Sequential.save."""
    _check_target(model, filepath, overwrite)
    for stack in model.stacks():
        if len(stack.layers) > configs.MOST_LAYERS:
            raise ValueError(f"{stack} has {len(stack.layers)} layers: a file may hold {configs.MOST_LAYERS}.")
    counters, arrays = state.get_state(model)
    content = {"model": model.get_config(), "training": _training_config(model), "state": counters}
    saving.write(filepath, "model", content | _ties(model), arrays)


def save_weights(model: Any, filepath: Path, overwrite: bool) -> None:
    """The weights alone, see Sequential.save_weights."""
    _check_target(model, filepath, overwrite)
    saving.write(filepath, "weights", _ties(model), model.weights)


def load_weights(model: Stack, filepath: Path) -> None:
    """Copy the weights of a file into the model, see Sequential.load_weights."""
    if not model.built:
        raise ValueError(f"{model} is not built: give its first layer an input_shape, or call build(input_shape).")
    content, arrays = saving.read(filepath, "weights", "model")
    weights = {name: value for name, value in arrays.items() if not name.startswith(state.SLOTS)}
    ties = content.get("ties")
    if isinstance(ties, dict):  # a model in which they are not tied gets the same numbers in both places
        weights |= {name: weights[first] for name, first in ties.items() if name in model.weights and first in weights}
    try:
        with Uninterrupted():
            state.copy_by_name(model.weights, weights, str(model))
    except ValueError as error:
        raise saving.refusal(filepath, f"cannot be loaded: {error}") from error


def restored(cls: Any, content: Config, arrays: dict[str, Array], custom_objects: CustomObjects, compile: bool) -> Any:
    """The model of a file's content. Whatever goes wrong, goes wrong because of what the file says."""
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


def _training_config(model: Any) -> Config | None:
    """What compile was called with; None before it was."""
    if model.optimizer is None:
        return None
    return {
        "optimizer": configs.describe(model.optimizer, configs.OPTIMIZERS),
        "loss": configs.describe(model.loss, configs.LOSSES),
        "metrics": [configs.describe_metric(name, metric) for name, metric in model.metrics],
    }


def _ties(model: Stack) -> Config:
    """What a file says of tied parameters, where there are any."""
    ties = model.ties()
    return {"ties": ties} if ties else {}


def _check_target(model: Stack, filepath: Path, overwrite: bool) -> None:
    if not model.built:
        raise ValueError(f"{model} is not built and has no weights to save: call build(input_shape), or fit.")
    saving.check_suffix(filepath, str(model))
    if not overwrite and os.path.exists(filepath):
        raise FileExistsError(errno.EEXIST, "the file is there already, and overwrite is False", os.fsdecode(filepath))
