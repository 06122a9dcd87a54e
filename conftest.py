"""What holds for every test, doctest and notebook: shapes are checked, and no result depends on the number of cores.

The import hook must be here, above `ivekit/`, so that it is in place before the doctests import it. (jaxtyping's own
pytest option does not reach the workers of pytest-xdist.)
"""

from __future__ import annotations

import os
import sys

import pytest
from jaxtyping import install_import_hook

# Two threads that fight for two busy cores run many times slower than one; and one adds up in a fixed order.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

collect_ignore_glob = [
    "*conftest.py",  # they hold no doctests, and as modules they would all have one name
    # scripts of environments of their own, which import what the tests' environment has not
    "tests/benchmarks/encoders.py",
    "tests/benchmarks/peers_*.py",
    "tests/mutation/*.py",
]

if "ivekit" in sys.modules:
    raise RuntimeError("ivekit was imported before its shapes could be checked: see which pytest plugin imports it")
install_import_hook("ivekit", "beartype.beartype")


@pytest.fixture(autouse=True)
def closed_figures():
    """Close the figures that a test or a doctest drew: twenty open ones are a warning."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
