"""The modules that have the operations, NumPy's and the loops, for tests of either or of both."""

import pytest

from npmnv3.ops import definitions

try:
    from npmnv3.ops import loops
except ImportError:
    loops = None

needs_loops = pytest.mark.skipif(loops is None, reason="Numba is not installed")
MODULES = [pytest.param(definitions, id="numpy"), pytest.param(loops, id="loops", marks=needs_loops)]
both_modules = pytest.mark.parametrize("ops", MODULES)
DTYPES = ["float32", "float64"]
