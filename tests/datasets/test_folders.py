"""Data sets in MNIST's format, under the names of files that people have."""

import gzip
import re
import struct

import numpy as np
import pytest

from minidl.datasets import load_idx_folder

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (7, 4, 3), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9, 2], np.uint8)
PLAIN = "{}-{}-idx{}-ubyte"


def idx(array):
    code = {"uint8": 8, "int32": 12}[array.dtype.name]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder, prefix="", test="t10k", pattern=PLAIN, packed=True, images=IMAGES, labels=LABELS):
    """Two samples fewer to test than to train."""
    folder.mkdir(exist_ok=True)
    for split, n in (("train", len(images)), (test, len(images) - 2)):
        for what, array in (("images", images), ("labels", labels)):
            name = prefix + pattern.format(split, what, array.ndim).replace("idx2-ubyte", "idx2-int")
            content = idx(array[:n])
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
    return folder


def assert_is(loaded, images=IMAGES, labels=LABELS):
    for (x, y), n in zip(loaded, (7, 5), strict=True):
        np.testing.assert_array_equal(x, images[:n], strict=True)
        np.testing.assert_array_equal(y, labels[:n])
        assert x.flags.writeable


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("pattern", [PLAIN, "{}-{}.idx{}-ubyte"])
def test_the_names_of_mnist_fashion_mnist_and_kmnist(tmp_path, packed, pattern):
    folder = write(tmp_path / "raw", packed=packed, pattern=pattern)
    (folder / "readme.txt").write_text("other files do not matter")
    assert_is(load_idx_folder(folder))
    assert_is(load_idx_folder(str(folder)))


def test_an_unpacked_file_is_preferred_to_its_archive(tmp_path):
    write(tmp_path, packed=True, images=IMAGES // 2)
    assert_is(load_idx_folder(write(tmp_path, packed=False)))


def test_emnist_is_upright_and_its_splits_are_chosen_by_name(tmp_path):
    transposed = np.ascontiguousarray(IMAGES.swapaxes(1, 2))
    write(tmp_path, "emnist-letters-", "test", images=transposed)
    assert_is(load_idx_folder(tmp_path))
    write(tmp_path, "emnist-balanced-", "test", images=transposed // 2)
    with pytest.raises(
        ValueError, match=re.escape("choose one, with name='emnist-balanced' or name='emnist-letters'.")
    ):
        load_idx_folder(tmp_path)
    assert_is(load_idx_folder(tmp_path, name="emnist-letters"))
    assert_is(load_idx_folder(tmp_path, name="emnist-balanced"), IMAGES // 2)


def test_qmnist_has_the_digit_in_the_first_of_eight_columns(tmp_path):
    rows = RNG.integers(0, 9999, (7, 8)).astype(np.int32)
    rows[:, 0] = LABELS
    write(tmp_path, "qmnist-", "test", labels=rows)
    assert_is(load_idx_folder(tmp_path))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_idx_folder(tmp_path / "nowhere")
    with pytest.raises(
        FileNotFoundError, match="has no train images of a data set: expected files named as MNIST's are"
    ):
        load_idx_folder(tmp_path)
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="has no test labels of a data set"):
        load_idx_folder(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"has no train images of kmnist: .*, such as 'kmnist-train-images-idx3"
    ):
        load_idx_folder(tmp_path, name="kmnist")


def test_files_that_do_not_belong_together(tmp_path):
    with pytest.raises(ValueError, match=re.escape("the train images and labels do not belong together: expected shapes "
                                                   "(N, H, W) and (N,), found (7, 4, 3) and (6,).")):  # fmt: skip
        load_idx_folder(write(tmp_path / "a", labels=LABELS[:6]))
    with pytest.raises(ValueError, match="do not belong together"):
        load_idx_folder(write(tmp_path / "b", images=LABELS))
    folder = write(tmp_path / "c")
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is not an IDX file"):
        load_idx_folder(folder)


def test_folders_of_the_same_names_do_not_matter(tmp_path):
    """Archives have them, with the files inside once more; the files beside them are meant."""
    folder = write(tmp_path / "raw", packed=False, pattern="{}-{}.idx{}-ubyte")
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (folder / name).mkdir()
    assert_is(load_idx_folder(folder))
