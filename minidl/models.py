"""Models, and how they are loaded from files and JSON."""

from . import configs, model_files, saving
from .configs import check_custom_objects
from .contracts import CustomObjects, Path
from .sequential import Sequential

__all__ = ["Sequential", "load_model", "model_from_json"]


def load_model(filepath: Path, custom_objects: CustomObjects | None = None, compile: bool = True) -> Sequential:
    """The model in a file written by ``model.save``: training continues from it as if it had never stopped.

    custom_objects: name → class or function, for each custom layer, loss, metric or function in the file; nothing is ever
    imported because a file says so. compile: False leaves the model uncompiled, to predict with.

    Raises OSError where the file cannot be read, and ValueError where it is of another kind, of a newer version or damaged, or
    where custom_objects is missing something. It needs no more memory than a few times the file's size, and raises MemoryError
    where there is not as much.
    """
    check_custom_objects(custom_objects)
    content, arrays = saving.read(filepath, "model")
    try:
        return model_files.restored(Sequential, content, arrays, custom_objects or {}, compile)
    except MemoryError:  # which is not the fault of the file
        raise
    except Exception as error:  # any error from here on is the fault of the file
        raise saving.refusal(filepath, f"cannot be loaded: {error}") from error


def model_from_json(json_string: str, custom_objects: CustomObjects | None = None) -> Sequential:
    """A new model from the JSON of ``model.to_json``, with new weights. Raises what Sequential.from_config does."""
    config = configs.parse(json_string)
    if not isinstance(config, dict) or config.get("class_name") != "Sequential":
        raise ValueError("a model's JSON must be that of to_json: {'class_name': 'Sequential', 'config': …}.")
    return Sequential.from_config(config.get("config"), custom_objects)


def __getattr__(name: str) -> None:
    """What ``from minidl.models import Model`` says."""
    if name in ("Model", "Functional"):
        raise ImportError(
            f"minidl has no {name}: it has no graphs. For the output of a layer in the middle use "
            "Sequential(model.layers[:k]); for connections around layers use layers.Residual."
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
