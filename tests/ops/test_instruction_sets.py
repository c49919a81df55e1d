"""The kernels as older processors get them: compiled for other instructions than this machine's, and equal to the reference."""

import os
import platform
import subprocess
import sys
import textwrap

import numba
import pytest

from minidl.ops.kernels.vector import FEATURES

SETS = {  # what Numba compiles for, what the machine has to have beside it, and the blocks of sums that this leads to
    "SSE4": ({"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""}, "+sse4.2", [(6, 2, 8), (6, 1, 8)]),
    "AVX2": (
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},
        "+avx512f",
        [(6, 2, 8), (6, 1, 8)],
    ),
}
# Small whole numbers: no sum is rounded, whatever its order and whether multiply-adds are fused.
PROGRAM = """
    import numpy as np
    from numba.core.registry import cpu_target
    from minidl.ops import kernels, reference
    from minidl.ops.kernels import blocks, direct

    rng = np.random.default_rng(0)

    def whole(*shape):
        return rng.integers(-3, 4, shape).astype(np.float32)

    for channels, filters, window in [(1, 20, 5), (3, 7, 3), (32, 32, 3)]:  # the last by Winograd
        x, kernel, bias = whole(9, 12, 11, channels), whole(window, window, channels, filters), whole(filters)
        a = reference.relu_forward(reference.conv2d_forward(x, kernel, bias, (1, 1), "valid"))
        y, _ = reference.max_pool2d_forward(a, (2, 2), (2, 2), "valid")
        np.testing.assert_array_equal(direct.forward(x, kernel, bias, (1, 1), "valid", True), a, strict=True)
        np.testing.assert_array_equal(direct.forward_pooled(x, kernel, bias, (1, 1), "valid", True)[0], y, strict=True)
        dz = whole(*a.shape)
        expected = reference.conv2d_backward(dz, x, kernel, (1, 1), "valid")
        for name, got, d in zip(("dx", "dkernel", "dbias"), direct.backward(dz, x, kernel, (1, 1), "valid", True), expected):
            np.testing.assert_array_equal(got, d, name, strict=True)
    numbers = np.array([1, -1, 0, 2, np.nan, -0.0, np.inf] * 5, np.float32)
    np.testing.assert_array_equal(kernels.relu_forward(numbers), reference.relu_forward(numbers), strict=True)
    print(cpu_target.target_context.codegen().magic_tuple()[1], blocks.SIZES)
"""


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="without the compiler there are no instructions to choose")
@pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="other processors have other sets")
@pytest.mark.parametrize("name", SETS)
def test_kernels_for_other_instructions_equal_the_reference(tmp_path, name):
    settings, needed, blocks = SETS[name]
    if needed not in FEATURES:
        pytest.skip(
            f"without {needed[1:]} the machine either cannot run this, or compiles it for all other tests anyway"
        )
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, **settings, "NUMBA_CACHE_DIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{settings['NUMBA_CPU_NAME']} {blocks}"
