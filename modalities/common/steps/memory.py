"""How the process takes memory from the system.

Every step of a training asks for the same large blocks again. glibc takes each of them from the
system and gives it back at once, and the system fills every page with zeros again: a tenth of a
small network's step. It may keep them instead.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep() -> None:
    """Keep freed memory for the next step; where the C library is another one, do nothing."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # large blocks lie among the small ones
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # and stay
