"""Files and backups that version 0.1.0 has written load, and training goes on from them to the bits that it came to then."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from support import assert_same

from minidl import Sequential, load_model
from minidl.callbacks import BackupAndRestore
from minidl.initializers import Constant
from minidl.layers import Dense

FILES = Path(__file__).parent / "data" / "files_of_0_1_0"


def script():
    """How the files were written, as a module."""
    found = importlib.util.spec_from_file_location("write", FILES / "write.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


write = script()
pytestmark = pytest.mark.usefixtures("_cut_as_users_see_it")


def arrays(name):
    """(weights, losses by epoch) of a training of 0.1.0 that nothing had stopped."""
    with np.load(FILES / f"{name}.npz") as found:
        return [found[f"arr_{i}"] for i in range(len(found.files) - 1)], found["losses"].tolist()


def test_a_model():
    model = load_model(FILES / "model.safetensors")
    x, y = write.images()
    expected = np.load(FILES / "predictions.npy")
    np.testing.assert_allclose(model.predict(x[:20], verbose=0), expected, rtol=2e-5, atol=2e-6)
    assert (model.name, model.seed, model.steps_trained, model.epochs_trained) == ("old", 3, 8, 4)
    assert model.optimizer.get_config() == write.convolutional().optimizer.get_config()
    assert [layer.name for layer in model.layers] == [layer.name for layer in write.convolutional().layers]
    assert [layer.trainable for layer in model.layers] == [True] * 8
    assert isinstance(model.get_layer("dense").bias_initializer, Constant)
    model.fit(x, y, batch_size=150, epochs=1, verbose=0)
    assert (model.steps_trained, model.optimizer.iterations) == (10, 10)


def test_a_loaded_model_goes_on_as_one_that_never_stopped():
    """What 0.1.0 came to after four epochs, this version comes to as well; and both go on alike."""
    loaded, fresh = load_model(FILES / "model.safetensors"), write.convolutional()
    x, y = write.images()
    fresh.fit(x, y, batch_size=150, epochs=4, verbose=0)
    for one, other in zip(fresh.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    fresh.set_weights(loaded.get_weights())
    for name, slots in fresh.optimizer.slots.items():
        for slot, value in slots.items():
            value[...] = loaded.optimizer.slots[name][slot]
    for model in (fresh, loaded):
        model.fit(x, y, batch_size=150, epochs=1, verbose=0)
    assert_same(fresh.get_weights(), loaded.get_weights())


def test_weights():
    model, whole = write.convolutional(), load_model(FILES / "model.safetensors", compile=False)
    model.load_weights(FILES / "weights.safetensors")
    assert_same(model.get_weights(), whole.get_weights())
    nested = Sequential([write.convolutional(), Dense(2)], name="other")
    with pytest.raises(ValueError, match="it does not fit model 'other': missing 'old/first/kernel'"):
        nested.load_weights(FILES / "weights.safetensors")
    nested.layers[0].load_weights(FILES / "weights.safetensors")  # the part that they are of
    assert_same(nested.get_weights()[: len(whole.get_weights())], whole.get_weights())


@pytest.mark.parametrize(
    ("name", "make", "data", "batch_size"),
    [("two_shards", write.convolutional, write.images, 150), ("one_shard", write.small, write.points, 8)],
)
def test_a_backup_goes_on_to_the_same_end(name, make, data, batch_size, tmp_path):
    """Two things: to where an unbroken training comes in this version, bit for bit; and to where it came in 0.1.0."""
    shutil.copytree(FILES / name, tmp_path / name)
    model, unbroken = make(), make()
    history = write.fit(model, *data(), batch_size, tmp_path / name)
    expected, losses = arrays(name)
    for one, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history.history["loss"], losses[-len(history.history["loss"]) :], rtol=1e-5)
    unbroken.fit(*data(), batch_size=batch_size, epochs=3, verbose=0)
    assert model.steps_trained == unbroken.steps_trained
    for one, other in zip(model.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_backup_whose_batches_would_be_cut_otherwise_is_refused_by_name(tmp_path):
    shutil.copytree(FILES / "cut_otherwise", tmp_path / "cut_otherwise")
    model = write.small()
    before = model.get_weights()
    with pytest.raises(ValueError, match="cannot resume from") as caught:
        write.fit(model, *write.points(), 20, tmp_path / "cut_otherwise")
    text = str(caught.value)
    assert "cut a batch of 20 samples into 2 shards, and this one cuts it into 1" in text
    assert "the numbers would not be the same" in text
    assert "To train from the beginning, delete that file" in text
    assert_same(model.get_weights(), before)
    for file in (tmp_path / "cut_otherwise").iterdir():  # as the error says
        file.unlink()
    write.fit(model, *write.points(), 20, tmp_path / "cut_otherwise")
    assert model.epochs_trained == 3


def test_a_backup_of_layers_that_were_not_frozen_is_refused_where_they_are(tmp_path):
    """0.1.0 could not freeze, so that its files say nothing of it."""
    shutil.copytree(FILES / "one_shard", tmp_path / "one_shard")
    model = write.small()
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match="the frozen layers was \\[\\] then, and is \\['dense'\\] now"):
        write.fit(model, *write.points(), 8, tmp_path / "one_shard")


def test_what_this_version_writes_goes_on_in_this_version(tmp_path):
    """The same stop as in the files, written anew: the bits are those of a training that nothing stopped."""
    for name, make, data, batch_size in (
        ("one_shard", write.small, write.points(), 8),
        ("cut_otherwise", write.small, write.points(), 20),
    ):
        with pytest.raises(SystemExit):
            write.fit(make(), *data, batch_size, tmp_path / name, write.Stop(3))
        model, unbroken = make(), make()
        write.fit(model, *data, batch_size, tmp_path / name)
        unbroken.fit(*data, batch_size=batch_size, epochs=3, verbose=0)
        assert_same(model.get_weights(), unbroken.get_weights())


def test_backup_and_restore_leaves_the_old_file_alone_until_it_goes_on(tmp_path):
    shutil.copytree(FILES / "one_shard", tmp_path / "one_shard")
    files = {path.name: path.read_bytes() for path in (tmp_path / "one_shard").iterdir()}
    other = write.convolutional()
    x, y = write.images()
    with pytest.raises(ValueError, match="it is of another training"):
        other.fit(x, y, epochs=3, verbose=0, callbacks=[BackupAndRestore(tmp_path / "one_shard")])
    assert {path.name: path.read_bytes() for path in (tmp_path / "one_shard").iterdir()} == files
