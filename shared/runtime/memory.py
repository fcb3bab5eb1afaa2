"""When a worker looks for memory that is free."""

import ctypes
import gc
from contextlib import suppress


def tune_garbage_collector() -> None:
    """Let the cyclic collector wait for more than a batch of records.

    A batch is hundreds of thousands of objects that live for a moment and hold no cycles; looking through them again
    and again was a third of a worker's time.
    """
    gc.set_threshold(500_000, 20, 20)


def release_free_memory() -> None:
    """Return what is free to the system, after work that took much: by itself the allocator keeps most of it."""
    gc.collect()
    with suppress(AttributeError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
