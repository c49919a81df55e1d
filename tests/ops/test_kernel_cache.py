"""Compiled kernels on disk: whatever is wrong with the disk, or with what lies there, a program runs and says so once."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest

import minidl
from minidl.ops.kernels import elementwise, jit

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="without the compiler there is nothing to keep")

PROGRAM = """
    import warnings
    import numpy as np

    with warnings.catch_warnings(record=True) as notices:
        warnings.simplefilter("always")
        from minidl.ops import kernels
        from minidl.ops.kernels import elementwise

        for dtype in {dtypes}:
            dy, y = np.arange(6, dtype=dtype), np.array([1, -1, 0, 2, np.nan, -0.0], dtype)
            assert kernels.relu_backward(dy, y).tolist() == [0, 0, 0, 3, 0, 0]
            assert kernels.relu_backward(dy, y).dtype == dtype
    found = sum(elementwise.relu_backward_into.stats.cache_hits.values())
    print(found, *(notice.message for notice in notices), sep="\\n")
"""
NOTICE = "minidl could not use the folder in which it keeps compiled kernels ("
ADVICE = "If this keeps happening, set NUMBA_CACHE_DIR to a writable folder."


def run(folder, dtypes=("float32",), program=PROGRAM, **environment):
    """(how many kernels came from the disk, the warnings) of a new process with this folder for its cache."""
    program = textwrap.dedent(program).replace("{dtypes}", repr(dtypes))
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found, *notices = done.stdout.splitlines()
    return int(found), notices


@pytest.fixture
def again(monkeypatch):
    """again(folder) → what ``run`` returns, without another process: the kernel is made anew, with this folder for its cache."""

    def call(folder, dtypes=("float32",), **patches):
        with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as notices:
            warnings.simplefilter("always")
            patch.setattr(numba.config, "CACHE_DIR", str(folder))
            patch.setattr(jit, "_noticed", False)
            for name, value in patches.items():
                patch.setattr(name.replace("__", "."), value)
            kernel = jit.jit(elementwise.relu_backward_into.py_func)
            for dtype in dtypes:
                dy, y = np.arange(6, dtype=dtype), np.array([1, -1, 0, 2, np.nan, -0.0], dtype)
                out = np.empty_like(dy)
                kernel(dy, y, out)
                assert out.tolist() == [0, 0, 0, 3, 0, 0]
        return sum(kernel.stats.cache_hits.values()), [str(notice.message) for notice in notices]

    return call


def test_the_second_process_compiles_nothing(tmp_path, again):
    assert run(tmp_path) == (0, [])
    assert run(tmp_path) == (1, [])
    assert again(tmp_path) == (1, [])  # so what is made anew in this process stands for another one
    assert again(tmp_path, dtypes=("float32", "float64")) == (1, [])  # the other is compiled and kept beside it
    assert again(tmp_path, dtypes=("float64", "float32")) == (2, [])


@pytest.fixture
def kept(tmp_path, again):
    """A folder with the kernel for both dtypes."""
    assert again(tmp_path, dtypes=("float32", "float64")) == (0, [])
    assert len(list(tmp_path.glob("*/*.nbc"))) == 2
    return tmp_path


def damage(folder, ending, content):
    for path in folder.glob(f"*/*.{ending}"):
        path.write_bytes(content(path.read_bytes()))


DAMAGES = {
    "the index is empty": ("nbi", lambda old: b""),
    "the index is cut": ("nbi", lambda old: old[:-3]),
    "the index is no pickle": ("nbi", lambda old: b"\x00" * 500),
    "the code is empty": ("nbc", lambda old: b""),
    "the code is cut": ("nbc", lambda old: old[: len(old) // 2]),
    "the code is no pickle": ("nbc", lambda old: b"garbage"),
    "the code is another pickle": ("nbc", lambda old: b"\x80\x04]q\x00."),
}


@pytest.mark.parametrize(("ending", "content"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_compiled_once_more_with_one_notice(kept, again, ending, content):
    damage(kept, ending, content)
    found, notices = again(kept, dtypes=("float32", "float64"))
    assert found == 0
    assert len(notices) == 1
    assert notices[0].startswith(NOTICE)
    assert notices[0].endswith(ADVICE)
    assert again(kept, dtypes=("float32", "float64")) == (2, [])  # mended


def test_code_under_the_name_of_other_types_is_not_run(kept, again):
    """Processes that write at once can leave an index that calls the one's code the other's."""
    one, other = kept.glob("*/*.nbc")
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    found, notices = again(kept, dtypes=("float32", "float64"))
    assert found == 0
    assert len(notices) == 1
    assert "(ValueError: expected code for (" in notices[0]
    assert again(kept, dtypes=("float32", "float64")) == (2, [])


@pytest.fixture
def full_disk():
    """full_disk() makes every write to a file fail in a ``with`` block, in this process alone."""
    resource = pytest.importorskip("resource", reason="Windows has no limit of this kind")

    @contextlib.contextmanager
    def block():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return block


def read_only(*arguments, **options):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_full_disk(tmp_path, again, full_disk):
    for _ in range(2):
        with full_disk():
            found, notices = again(tmp_path, ("float32", "float64"))
        assert found == 0
        assert len(notices) == 1
        assert notices[0].startswith(NOTICE + "OSError: [Errno ")
        assert notices[0].endswith(ADVICE)
    assert again(tmp_path) == (0, [])  # nothing half-written was left to be found
    with full_disk():
        assert again(tmp_path) == (1, [])  # who only reads needs no room


def test_nowhere_to_write(tmp_path, again):
    found, notices = again(tmp_path, ("float32", "float64"), tempfile__TemporaryFile=read_only, os__makedirs=read_only)
    assert found == 0
    assert len(notices) == 1
    assert notices[0].startswith(NOTICE + "RuntimeError: cannot cache function")
    assert notices[0].endswith(ADVICE)


def test_a_cache_that_turned_read_only_can_be_neither_mended_nor_in_the_way(kept, again):
    damage(kept, "nbi", lambda old: b"garbage")
    for _ in range(2):
        found, notices = again(kept, os__unlink=read_only, os__replace=read_only)
        assert found == 0
        assert len(notices) == 1


def test_without_the_compiler_there_is_no_cache(tmp_path):
    program = PROGRAM.replace("elementwise.relu_backward_into.stats.cache_hits.values()", "[]")
    assert run(tmp_path, program=program, NUMBA_DISABLE_JIT="1") == (0, [])
    assert list(tmp_path.iterdir()) == []


def test_processes_that_begin_at_once_share_a_cache(tmp_path, again):
    program = textwrap.dedent(PROGRAM)
    orders = [("float32", "float64"), ("float64", "float32")]
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program.replace("{dtypes}", repr(order))],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        )
        for order in orders
    ]
    for process in started:
        _, errors = process.communicate(timeout=100)
        assert (process.returncode, errors) == (0, b"")
    for _ in range(2):
        again(tmp_path, dtypes=("float32", "float64"))  # at worst each was overwritten once, and is compiled anew
    assert again(tmp_path, dtypes=("float32", "float64")) == (2, [])


def test_a_change_in_a_file_that_a_kernel_calls_is_noticed(tmp_path):
    """As loops.py calls vector.py. Numba by itself would look at the kernel's own file alone."""
    package = tmp_path / "minidl"
    shutil.copytree(Path(minidl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    program = """
        import numpy as np
        from minidl.ops.kernels.jit import jit
        from minidl.ops.kernels.vector import LANES, fill, multiply_add, store

        @jit
        def kernel(y):
            store(y, 0, multiply_add(fill(np.float32(2)), fill(np.float32(3)), fill(np.float32(10))))

        y = np.zeros(LANES, np.float32)
        kernel(y)
        print(int(y[0]))
    """
    (tmp_path / "program.py").write_text(
        textwrap.dedent(program), "utf-8"
    )  # its folder is where it looks for minidl first

    def result():
        done = subprocess.run(
            [sys.executable, tmp_path / "program.py"],
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            check=True,
        )
        return int(done.stdout)

    assert result() == 16
    vector = package / "ops" / "kernels" / "vector.py"
    text = vector.read_text("utf-8")
    assert text.count("builder.fmul(a, b") == 1
    vector.write_text(text.replace("builder.fmul(a, b", "builder.fadd(a, b"), "utf-8")
    assert result() == 15
