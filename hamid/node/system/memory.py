# SPDX-License-Identifier: Apache-2.0
"""Memory that is free goes back to the system, of which a daemon with many threads else keeps some MiB more.

glibc keeps freed pages in up to eight arenas a core. Another libc lacks these functions and is left as it is.
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h
_ARENAS: Final = 2


def use_few_arenas() -> None:
    """Threads that begin after this share arenas."""
    call = getattr(ctypes.CDLL(None), "mallopt", None)
    if call is not None:
        call(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Whole free pages, wherever they lie."""
    call = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if call is not None:
        call(ctypes.c_size_t(0))
