"""IDX files are written here byte by byte with struct, which shares no code with the reader."""

import gzip
import itertools
import math
import re
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minidl.datasets import read_idx

# dtype: its code in the file, its letter in struct
TYPES = {
    "uint8": (0x08, "B"),
    "int8": (0x09, "b"),
    "int16": (0x0B, "h"),
    "int32": (0x0C, "i"),
    "float32": (0x0D, "f"),
    "float64": (0x0E, "d"),
}
HIGHEST_RANK = 64 if int(np.__version__.split(".")[0]) >= 2 else 32


def header(dtype, shape):
    return struct.pack(f">BBBB{len(shape)}i", 0, 0, TYPES[dtype][0], len(shape), *shape)


def encode(array):
    values = array.ravel().tolist()
    return header(array.dtype.name, array.shape) + struct.pack(f">{len(values)}{TYPES[array.dtype.name][1]}", *values)


def read_bytes(content, **options):
    """Read `content` as a file. Hypothesis calls it many times in one test, so it makes its own directory."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x.idx"
        path.write_bytes(content)
        return read_idx(path, **options)


def assert_refused(tmp_path, content, text):
    """The whole message is `text`, with the path in place of PATH."""
    path = tmp_path / "x.idx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^" + re.escape(text.replace("PATH", f"'{path}'")) + "$"):
        read_idx(path)


def peak_of_refusal(path, match, **options):
    """The most memory in use while `path` is refused, in bytes."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=match):
            read_idx(path, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


arrays = st.sampled_from(sorted(TYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=6, min_side=0, max_side=3))
)

SMALL = np.arange(6, dtype=np.int16).reshape(2, 3)  # 12 bytes of header, 12 of values
SMALL_TEXT = "expected 24 bytes for int16 values of shape (2, 3)"


class TestReads:
    def test_a_file_written_by_hand(self, tmp_path):
        path = tmp_path / "x.idx"
        path.write_bytes(bytes.fromhex("0000 0b 02  00000002 00000003  0001 0002 0003  ffff 8000 0100"))
        np.testing.assert_array_equal(read_idx(path), np.array([[1, 2, 3], [-1, -32768, 256]], np.int16), strict=True)

    @given(array=arrays, compressed=st.booleans())
    @settings(max_examples=200, deadline=None)
    def test_what_was_written(self, array, compressed):
        content = encode(array)
        got = read_bytes(gzip.compress(content) if compressed else content)
        np.testing.assert_array_equal(got, array, strict=True)

    @pytest.mark.parametrize("dtype", TYPES)
    @pytest.mark.parametrize("compressed", [False, True])
    def test_a_new_array_to_write_in(self, dtype, compressed):
        content = encode(np.ones((2, 3), dtype))
        got = read_bytes(gzip.compress(content) if compressed else content)
        assert got.dtype == np.dtype(dtype)
        assert got.dtype.isnative
        assert got.flags.writeable
        assert got.flags.owndata
        assert got.flags.c_contiguous
        assert got.flags.aligned
        got += 1
        assert (got == 2).all()

    @pytest.mark.parametrize("rank", [0, 1, HIGHEST_RANK])
    def test_any_rank(self, rank):
        array = np.full((1,) * rank, 2.5)
        np.testing.assert_array_equal(read_bytes(encode(array)), array, strict=True)

    def test_gzip_by_content_not_by_name(self, tmp_path):
        raw, compressed = tmp_path / "raw.gz", tmp_path / "compressed.idx"
        raw.write_bytes(encode(SMALL))
        compressed.write_bytes(gzip.compress(encode(SMALL)))
        np.testing.assert_array_equal(read_idx(raw), SMALL)
        np.testing.assert_array_equal(read_idx(compressed), SMALL)

    def test_a_path_or_a_string(self, tmp_path):
        path = tmp_path / "x.idx"
        path.write_bytes(encode(SMALL))
        np.testing.assert_array_equal(read_idx(path), read_idx(str(path)))

    @pytest.mark.parametrize("zeros", [1, 511, 100_000])
    def test_zeros_behind_gzip_data(self, zeros):
        """As tapes and some copying tools leave them; Python's gzip reads such files, too."""
        packed = gzip.compress(encode(SMALL))
        np.testing.assert_array_equal(read_bytes(packed + b"\0" * zeros), SMALL)
        np.testing.assert_array_equal(read_bytes(packed + b"\0" * zeros + gzip.compress(b"")), SMALL)

    def test_gzip_members_one_after_the_other(self):
        """Noise does not compress, so that members and the pieces in which the file is read end in different places."""
        array = np.random.default_rng(0).integers(0, 256, (300, 1000), np.uint8)
        content = encode(array)
        cuts = [0, 3, 3, 100, 70_000, 200_000, len(content)]  # inside the header, and an empty member
        members = [gzip.compress(content[a:b]) for a, b in itertools.pairwise(cuts)]
        np.testing.assert_array_equal(read_bytes(b"".join(members)), array, strict=True)

    def test_the_highest_ratio_of_deflate(self):
        array = np.zeros(2_000_000, np.uint8)
        content = gzip.compress(header("uint8", array.shape) + array.tobytes())
        assert array.nbytes / len(content) > 1000  # else this proves nothing
        np.testing.assert_array_equal(read_bytes(content), array, strict=True)


class TestRefuses:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_idx(tmp_path / "x.idx")

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            (b"", "nothing"),
            (b"\0\0\x08", "00 00 08"),
            (b"PK\x03\x04 and so on", "50 4b 03 04"),
            (b"\0\x01\x08\x00\x05", "00 01 08 00"),
            (b"\x01\0\x08\x00\x05", "01 00 08 00"),
            (b"\0\0\x0a\x00\x05", "00 00 0a 00"),
        ],
    )
    def test_another_format(self, tmp_path, content, found):
        text = (
            " is not an IDX file: expected two zero bytes, a type code (08, 09, 0b, 0c, 0d or 0e) "
            f"and the number of dimensions, found {found}."
        )
        assert_refused(tmp_path, content, "PATH" + text)
        assert_refused(tmp_path, gzip.compress(content), "PATH (gzip)" + text)

    def test_half_a_header(self, tmp_path):
        content = encode(SMALL)[:9]
        text = " ends inside its header: expected 12 bytes for 2 dimensions, found 9. Get a whole copy of the file."
        assert_refused(tmp_path, content, "PATH" + text)
        assert_refused(tmp_path, gzip.compress(content), "PATH (gzip)" + text)

    @pytest.mark.parametrize("shape", [(-1,), (2, -3), (0, -1), (-2, -2)])
    def test_a_negative_dimension(self, tmp_path, shape):
        content = header("uint8", shape) + bytes(4)
        text = f" is damaged: expected dimensions of zero or more, found {shape}. Get a whole copy of the file."
        assert_refused(tmp_path, content, "PATH" + text)
        assert_refused(tmp_path, gzip.compress(content), "PATH (gzip)" + text)

    def test_too_short(self, tmp_path):
        content = encode(SMALL)[:-1]
        text = f" does not hold what its header declares: {SMALL_TEXT}, found 23. Get a whole copy of the file."
        assert_refused(tmp_path, content, "PATH" + text)
        assert_refused(tmp_path, gzip.compress(content), "PATH (gzip)" + text)

    def test_too_long(self, tmp_path):
        content = encode(SMALL) + bytes(10)
        text = f" does not hold what its header declares: {SMALL_TEXT}, found %s. Get a whole copy of the file."
        assert_refused(tmp_path, content, "PATH" + text % 34)
        assert_refused(tmp_path, gzip.compress(content), "PATH (gzip)" + text % "more")

    def test_a_shape_beyond_deflate(self, tmp_path):
        shape = (2**20, 2**20)
        content = gzip.compress(header("uint8", shape))
        assert_refused(
            tmp_path,
            content,
            f"PATH (gzip) cannot hold what its header declares: expected {2**40 + 12} bytes for uint8 values of shape "
            f"{shape}, found {len(content)} compressed bytes, which inflate to {len(content) * 1032} at most. "
            "Get a whole copy of the file.",
        )

    def test_a_size_that_overflows_int64(self, tmp_path):
        shape = (2**30, 2**30, 2**30)
        assert_refused(
            tmp_path,
            header("uint8", shape),
            f"PATH does not hold what its header declares: expected {2**90 + 16} bytes for uint8 values of shape "
            f"{shape}, found 16. Get a whole copy of the file.",
        )

    @pytest.mark.parametrize("shape", [(1,) * (HIGHEST_RANK + 1), (1,) * 255, (0, 2**31 - 1, 2**31 - 1, 2**31 - 1)])
    @pytest.mark.parametrize("compress", [bytes, gzip.compress])
    def test_a_shape_beyond_numpy(self, tmp_path, shape, compress):
        path = tmp_path / "x.idx"
        path.write_bytes(compress(header("uint8", shape) + bytes(math.prod(shape))))
        start = re.escape(f"cannot become an array: expected a shape that NumPy can hold, found {shape} (")
        end = re.escape("). Write the values with fewer or smaller dimensions.")
        with pytest.raises(ValueError, match=f"{start}.*{end}$"):
            read_idx(path)

    def test_truncated_gzip(self, tmp_path):
        """Without its last byte, the checksum and the length that end a member are not whole."""
        assert_refused(
            tmp_path,
            gzip.compress(encode(SMALL))[:-1],
            "PATH (gzip) is truncated: expected the end of the gzip data, found the end of the file "
            "after 24 decompressed bytes. Get a whole copy of the file.",
        )

    @pytest.mark.parametrize(("byte", "cause"), [(-5, "incorrect data check"), (-1, "incorrect length check")])
    def test_a_wrong_checksum(self, tmp_path, byte, cause):
        content = bytearray(gzip.compress(encode(SMALL)))
        content[byte] ^= 1
        assert_refused(
            tmp_path,
            content,
            "PATH (gzip) is damaged: expected gzip data from start to end, found "
            f"'Error -3 while decompressing data: {cause}'. Get a whole copy of the file.",
        )

    @pytest.mark.parametrize(("garbage", "found"), [(b"PK", "50 4b"), (b"\0\0PK\0", "50 4b 00")])
    def test_bytes_after_the_gzip_data(self, tmp_path, garbage, found):
        assert_refused(
            tmp_path,
            gzip.compress(encode(SMALL)) + garbage,
            "PATH (gzip) is too long: expected the end of the file or another gzip header after the gzip data, "
            f"found {found}. Get a whole copy of the file.",
        )

    def test_half_a_second_gzip_member(self, tmp_path):
        path = tmp_path / "x.idx"
        path.write_bytes(gzip.compress(encode(SMALL)) + b"\x1f\x8b")
        with pytest.raises(ValueError, match=r"is truncated: .* after 24 decompressed bytes"):
            read_idx(path)

    @given(array=arrays, compressed=st.booleans(), data=st.data())
    @settings(max_examples=100, deadline=None)
    def test_every_beginning_of_a_file(self, array, compressed, data):
        content = gzip.compress(encode(array)) if compressed else encode(array)
        cut = data.draw(st.integers(0, len(content) - 1))
        with pytest.raises(ValueError, match=r"x\.idx"):
            read_bytes(content[:cut])

    @given(start=st.sampled_from([b"", b"\0\0", b"\0\0\x08", b"\0\0\x0e\x02\0\0\0", b"\x1f\x8b\x08"]), rest=st.binary())
    @example(start=b"\x1f\x8b\x08", rest=b"")
    @settings(max_examples=200, deadline=None)
    def test_noise_with_nothing_but_value_error(self, start, rest):
        try:
            got = read_bytes(start + rest)
        except ValueError as error:
            assert "x.idx" in str(error)  # noqa: PT017 - noise may be a good file as well
        else:
            assert 4 + 4 * got.ndim + got.nbytes == len(start + rest)


class TestMemory:
    """A refusal costs what the file holds at most, whatever its header declares, and the other way round."""

    def test_a_small_file_declares_a_terabyte(self, tmp_path):
        path = tmp_path / "x.idx"
        for content in header("uint8", (2**20, 2**20)), gzip.compress(header("uint8", (2**20, 2**20))):
            path.write_bytes(content)
            assert peak_of_refusal(path, "what its header declares") < 1_000_000

    def test_gzip_declares_more_than_it_holds(self, tmp_path):
        """Within deflate's ratio, so that only inflating can tell."""
        noise = np.random.default_rng(0).bytes(1_000_000)
        path = tmp_path / "x.idx"
        path.write_bytes(gzip.compress(header("uint8", (1000, 1_000_000)) + noise))
        assert peak_of_refusal(path, r"found 1000012[.]", max_ratio=None) < 4_000_000

    def test_gzip_bomb(self, tmp_path):
        path = tmp_path / "x.idx"
        path.write_bytes(gzip.compress(header("uint8", (2, 3)) + bytes(50_000_000)))
        assert peak_of_refusal(path, r"expected 18 bytes for uint8 values of shape .*, found more") < 1_000_000

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("dtype", ["uint8", "float64"])
    def test_a_good_file_needs_its_array_and_no_second_copy(self, tmp_path, compressed, dtype):
        array = np.arange(4_000_000 // np.dtype(dtype).itemsize).astype(dtype)
        content = header(dtype, array.shape) + array.astype(array.dtype.newbyteorder(">")).tobytes()
        path = tmp_path / "x.idx"
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
        tracemalloc.start()
        try:
            np.testing.assert_array_equal(read_idx(path), array, strict=True)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            kept = read_idx(path)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert kept.nbytes == 4_000_000
        assert peak < 5_000_000

    def test_a_file_that_inflates_to_very_much_is_read_only_where_that_is_asked_for(self, tmp_path):
        n = 2**26 + 1000
        path = tmp_path / "x.idx"
        path.write_bytes(gzip.compress(header("uint8", (n,)) + bytes(n), 9))
        ratio = round((n + 8) / path.stat().st_size)
        assert ratio > 1000
        text = (
            f"'{path}' (gzip) would inflate to {n + 8} bytes, {ratio} times its size, and max_ratio is 200. If you trust the "
            "file, use max_ratio=None."
        )
        assert peak_of_refusal(path, "^" + re.escape(text) + "$") < 1_000_000
        assert peak_of_refusal(path, "max_ratio is 500", max_ratio=500) < 1_000_000
        assert read_idx(path, max_ratio=None).shape == (n,)
        assert read_idx(path, max_ratio=1032).shape == (n,)

    def test_a_large_file_declares_six_bytes(self, tmp_path):
        path = tmp_path / "x.idx"
        path.write_bytes(header("uint8", (2, 3)) + bytes(10_000_000))
        assert peak_of_refusal(path, r"expected 18 bytes for uint8 values of shape .*, found 10000012") < 1_000_000
