"""Changes of files: in their bytes, in what their JSON says, and in a safetensors file with the lengths put right."""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

Bytewise = Callable[[bytes], bytes]

NUMBERS = [
    0,
    1,
    2,
    3,
    4,
    8,
    -1,
    255,
    2**31,
    2**32,
    2**40,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    10**400,
    0.5,
    -0.5,
    1e-300,
    1e300,
]
NAMES = [
    "",
    "x",
    "linear",
    "relu",
    "softmax",
    "same",
    "valid",
    "reference",
    "kernels",
    "float64",
    "zeros",
    "he_normal",
    "accuracy",
]
NAMES += [
    "Dense",
    "Conv2D",
    "MaxPooling2D",
    "Flatten",
    "Dropout",
    "Adam",
    "SGD",
    "RMSprop",
    "MeanSquaredError",
    "Twice",
    "schedule",
]
VALUES = [
    *NUMBERS,
    *NAMES,
    True,
    False,
    None,
    [],
    {},
    [1, 2],
    [2**40],
    {"custom_object": "Twice"},
    {"custom_object": "schedule"},
]


def bytewise(rng: random.Random) -> Bytewise:
    """A few bytes changed, taken away, doubled or added."""

    def edit(content: bytes) -> bytes:
        data = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8))):
            start = rng.randrange(len(data) + 1)
            end = min(len(data), start + rng.choice((0, 1, 1, 4, 8, 100)))
            data[start:end] = rng.choice(
                (rng.randbytes(end - start), rng.randbytes(4), b"", data[start:end] * 2, b"\xff" * 8)
            )
        return bytes(data)

    return edit


def change_model_file(content: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """A safetensors file a little different: in its bytes, in its header with the length put right, or in what its JSON says."""
    size = int.from_bytes(content[:8], "little")
    header, body = content[8 : 8 + size], content[8 + size :]
    way = rng.random()
    if way < 0.1:
        return bytewise(content)
    if way < 0.2:
        return framed(bytewise(header), body)
    try:
        parts = json.loads(header)
        if way < 0.23:  # a name twice
            name = rng.choice(list(parts))
            text = json.dumps({name: change(parts[name], rng) if parts[name] else 1})
            first, second = rng.sample((text, header.decode()), 2)
            return framed(f"{first[:-1]}, {second[1:]}".encode(), body)
        if way < 0.35:
            return framed(json.dumps(change(parts, rng)).encode(), body)
        inner = json.loads(parts["__metadata__"]["minidl"])
        if isinstance(inner.get("training"), str) and rng.random() < 0.7:  # a backup's: JSON within JSON
            inner["training"] = json.dumps(change(json.loads(inner["training"]), rng))
        else:
            inner = change(inner, rng)
        text = json.dumps(inner)
        if way > 0.97:
            text = bytewise(text.encode()).decode("utf-8", "replace")
        parts["__metadata__"]["minidl"] = text
        return framed(json.dumps(parts).encode(), body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return bytewise(content)


def framed(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def change(value: Any, rng: random.Random) -> Any:
    """The same JSON with one thing in it changed, taken away, doubled, renamed, moved or nested."""
    places = list(walk(value))
    if not places:
        return rng.choice(VALUES)
    parent, key = rng.choice(places)
    old, what = parent[key], rng.randrange(16)
    if what == 0:
        del parent[key]
    elif what == 1:
        other, other_key = rng.choice(places)
        parent[key] = json.loads(json.dumps(other[other_key]))
    elif what == 2 and isinstance(parent, dict):
        parent[rng.choice([*NAMES, "name", "config", "custom_object", "units", "input_dim", "input_shape", "/a"])] = (
            parent.pop(key)
        )
    elif what == 3 and isinstance(parent, list):
        parent.extend(json.loads(json.dumps(parent)) * rng.choice((1, 3, 30)))
    elif what == 4:
        for _ in range(rng.choice((1, 3, 2000))):
            parent[key] = [parent[key]]
    elif what == 5 and isinstance(parent, list):
        rng.shuffle(parent)
    elif what < 8:
        parent[key] = rng.choice(VALUES)
    elif isinstance(old, bool):  # from here on, something of the same type
        parent[key] = not old
    elif isinstance(old, int | float):
        parent[key] = rng.choice((old + 1, old - 1, old * 2, -old, rng.choice(NUMBERS)))
    elif isinstance(old, str):
        parent[key] = rng.choice(NAMES)
    else:
        parent[key] = change(old, rng) if old else rng.choice(VALUES)
    return value


def walk(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything within; no deeper than is usual."""
    waiting = [(value, 0)]
    while waiting:
        container, depth = waiting.pop()
        keys = (
            list(container)
            if isinstance(container, dict)
            else range(len(container) if isinstance(container, list) else 0)
        )
        for key in keys:
            yield container, key
            if depth < 12:
                waiting.append((container[key], depth + 1))


def change_json(content: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """A JSON file a little different, in what it says or, rarely, in its bytes."""
    try:
        if rng.random() > 0.1:
            return json.dumps(change(json.loads(content), rng)).encode()
    except (ValueError, RecursionError):
        pass
    return bytewise(content)
