# SPDX-License-Identifier: Apache-2.0
"""Helpers that tests of several packages share: simulated nodes, client programs, crash proofs.

`python -m support.NAME`, run in TESTS, starts a program of this package.
"""

import os
from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
REPOSITORY = TESTS.parent
# What tests compile themselves; tools/mutants.py names its changed copy.
NATIVE = Path(os.environ.get("HAMI_TEST_NATIVE", REPOSITORY / "native"))
