"""Objects as JSON, and back: the name of a class and its settings, never code.

An object of the library is {"class_name": …, "config": …} and is looked up in the library's own tables. A user's object is
{"custom_object": …, "config": …}, a user's function {"custom_object": …}: these are looked up in the user's ``custom_objects``,
and nowhere else. An object's settings may contain, at any depth, layers, functions and callable objects. A frozen layer has the
entry "trainable": false beside its settings.
"""

import inspect
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from . import initializers, layers, losses, metrics, optimizers, regularizers
from .contracts import JSON, Config, CustomObjects, MetricFunction, MetricLike
from .layers import Layer, Stack
from .optimizers import schedules
from .utils.lookup import by_name
from .utils.settings import settings

CUSTOM = "custom_object"  # the key for what is not the library's, and has to be passed when it is read
LAYERS: dict[str, type[Layer]] = {
    name: getattr(layers, name)
    for name in layers.__all__
    if getattr(layers, name).__name__ == name not in ("Input", "Layer")  # and no other names of classes
}
BUILDS = {layer.build for layer in LAYERS.values()}  # these allocate only through their initializers
LOSSES = {loss.__name__: loss for loss in losses.LOSSES.values()}
METRICS = {metric.__name__: metric for metric in metrics.METRICS.values()}
OPTIMIZERS = {optimizer.__name__: optimizer for optimizer in optimizers.OPTIMIZERS.values()}
# The library's callable objects, which may be among the settings of others.
SCHEDULES = (
    schedules.ExponentialDecay,
    schedules.InverseTimeDecay,
    schedules.PiecewiseConstantDecay,
    schedules.CosineDecay,
    schedules.OneCycle,
)
REGULARIZERS = (regularizers.L1, regularizers.L2, regularizers.L1L2)
INITIALIZERS = (*map(type, initializers.INITIALIZERS.values()), initializers.Constant, initializers.VarianceScaling)
CALLABLES = {cls.__name__: cls for cls in (*INITIALIZERS, *SCHEDULES, *REGULARIZERS)}
Classes: TypeAlias = Mapping[str, type]  # the library's classes that JSON may name
# Settings of an inner stack that follow from its layers, or that the outermost one decides.
OF_STACKS = ("layers", "projection", "input_shape", "input_dim", "trainable", "seed", "dtype", "ops", "fuse")
MOST_LAYERS = 1000  # in a stack; adding a layer takes longer the more there are


def describe(thing: object, table: Classes) -> Config:
    """The class and the settings of an object: from its get_config, or from its attributes where it has no such method."""
    if isinstance(thing, Stack) and _makes_its_layers(type(thing)):
        config = settings(thing, without=OF_STACKS)
    else:
        config = thing.get_config() if hasattr(thing, "get_config") else settings(thing)
    if isinstance(thing, Stack):
        config = {key: _described(value, table) for key, value in config.items() if key != "input_shape"}
    name = type(thing).__name__
    entry = {"class_name" if table.get(name) is type(thing) else CUSTOM: name, "config": config}
    return entry if getattr(thing, "trainable", True) else entry | {"trainable": False}


def _makes_its_layers(cls: type[Stack]) -> bool:
    """Whether it is a user's class that is recreated from its own arguments, like Block(units=8), not from layers."""
    ours = cls.get_config.__module__.startswith(f"{__package__}.")
    return ours and "layers" not in inspect.signature(cls.__init__).parameters


def _described(value: object, table: Classes) -> object:
    if isinstance(value, list | tuple):
        return [_described(item, table) for item in value]
    return describe(value, table) if hasattr(value, "backward") else value


def describe_metric(metric: MetricLike) -> Config | MetricFunction:
    """The class and the settings of a metric; a user's function as it is, which to_json stores by name."""
    return metric.function if isinstance(metric, metrics.Function) else describe(metric, METRICS)


def make(entry: object, table: Classes, custom_objects: CustomObjects, what: str) -> Any:
    """Recreate the object that ``describe`` described. what: what messages call it.

    Raises ValueError where there is no such class, or where it cannot be created with these settings, and TypeError where a
    class's name is not a string.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("config"), dict):
        raise ValueError(f"{what} must be given as a class and its config, found {entry!r}.")
    if CUSTOM in entry:
        cls = _custom(entry[CUSTOM], custom_objects, what)
    else:
        cls = by_name({**table, **custom_objects}, entry.get("class_name"), what)
    config, trainable = entry["config"], entry.get("trainable", True)
    if not isinstance(trainable, bool):
        raise ValueError(f"{what}: trainable must be true or false, found {trainable!r}.")
    inside: Classes = {}
    if isinstance(cls, type) and issubclass(cls, Stack):
        config, inside = without_shape(config), table
        if "layers" in config or cls in table.values():
            check_length(config.get("layers"), what)
    try:
        config = {key: decode(value, custom_objects, what, inside) for key, value in config.items()}
    except RecursionError:
        raise ValueError(f"the settings of {what} are nested too deep.") from None
    try:
        thing = cls(**config)
    except MemoryError:
        raise
    except Exception as error:  # a class may raise anything for settings that it does not accept
        raise ValueError(f"{what}, {cls.__name__}, cannot be made: {error}") from error
    if not trainable:
        thing.trainable = False
    return thing


def without_shape(config: Config) -> Config:
    """The settings without the input shape: a stack would build a layer that has one, however large."""
    return {key: value for key, value in config.items() if key not in ("input_shape", "input_dim")}


def check_length(found: object, what: str) -> None:
    """Raise ValueError where a stack would have too many layers, or anything but a list of them."""
    if not isinstance(found, list | tuple):
        raise ValueError(f"{what} must have a list of layers, found {found!r}.")
    if len(found) > MOST_LAYERS:
        raise ValueError(f"{what} may hold {MOST_LAYERS} layers, found {len(found)}.")


def decode(value: object, custom_objects: CustomObjects, what: str, table: Classes | None = None) -> Any:
    """The value with its functions and objects recreated, from the form that ``to_json`` writes.

    table: the library's classes that it may name, in addition to CALLABLES.
    """
    table = {**CALLABLES, **(table or {})}
    if isinstance(value, list):
        return [decode(item, custom_objects, what, table) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {CUSTOM}:
        return _custom(value[CUSTOM], custom_objects, what)
    kinds = value.keys() - {"config", "trainable"}
    if "config" in value and (kinds == {CUSTOM} or (kinds == {"class_name"} and value["class_name"] in table)):
        config = value["config"]
        inside = {**value, "config": without_shape(config) if isinstance(config, dict) else config}
        return make(inside, table, custom_objects, what)
    return {key: decode(item, custom_objects, what, table) for key, item in value.items()}


def check_custom_objects(custom_objects: object) -> None:
    """Raise TypeError where it is no dictionary of classes and functions by name, nor None."""
    if custom_objects is None or (
        isinstance(custom_objects, Mapping) and all(isinstance(name, str) for name in custom_objects)
    ):
        return
    raise TypeError(f"custom_objects must be a dictionary, name → class or function, received {custom_objects!r:.200}.")


def _custom(name: object, custom_objects: CustomObjects, what: str) -> Any:
    if not isinstance(name, str) or name not in custom_objects:
        raise ValueError(f"{what} is {name!r}, which is not the library's: pass custom_objects={{{name!r}: …}}.")
    return custom_objects[name]


def training_arguments(config: object, custom_objects: CustomObjects) -> Config:
    """The arguments of ``compile``, from a file's description of them."""
    if not isinstance(config, dict) or not isinstance(config.get("metrics"), list):
        raise ValueError(f"the training must be given as an optimizer, a loss and metrics, found {config!r}.")
    return {
        "optimizer": make(config.get("optimizer"), OPTIMIZERS, custom_objects, "optimizer"),
        "loss": make(config.get("loss"), LOSSES, custom_objects, "loss"),
        "metrics": [decode(metric, custom_objects, "metric", METRICS) for metric in config["metrics"]],
    }


# ----------------------------------------------------------------------------------------------------------------- JSON


def to_json(value: object, **options: Any) -> str:
    """A JSON string, in which a function is {"custom_object": its name}, and a callable object has a "config", too.

    options: json.dumps's.

    Raises ValueError where JSON cannot hold the value: NaN, infinity, or a key that is not a string or number. (JSON turns a
    key that is a number into a string.)
    """
    try:
        return json.dumps(value, allow_nan=False, default=_encode, **options)
    except TypeError as error:
        raise ValueError(f"JSON cannot hold these settings: {error}.") from error
    except RecursionError:
        raise ValueError("these settings are nested too deep for JSON.") from None


def _encode(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if not callable(value):
        raise ValueError(
            f"JSON cannot hold {value!r}: settings must be numbers, strings, lists, dictionaries or functions."
        )
    name = getattr(value, "__name__", None)
    if name is None:
        if not hasattr(value, "get_config"):
            raise ValueError(
                f"the settings of {value!r} are not known: write its get_config(), or a function with def."
            )
        return describe(value, CALLABLES)
    if not name.isidentifier():
        raise ValueError(
            f"{value!r} has no name to find it by: write it with def, and give it to custom_objects at load."
        )
    return {CUSTOM: name}


def parse(text: str) -> JSON:
    """The value of a JSON string. Raises ValueError where it is not valid, has a duplicate name, or is nested too deep."""
    try:
        value: JSON = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its JSON cannot be read ({error}).") from error
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _once(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("it has a duplicate name")
    return value
