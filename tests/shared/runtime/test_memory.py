"""A worker gives back what a large piece of work took."""

import gc

import psutil

from shared.runtime.memory import release_free_memory


def test_what_a_large_piece_of_work_left_goes_back_to_the_system_though_the_collector_has_not_come() -> None:
    process = psutil.Process()
    release_free_memory()
    gc.disable()
    try:
        before = process.memory_info().rss
        work: list[object] = [[nth] for nth in range(500_000)]
        work.append(work)  # in a ring
        taken = process.memory_info().rss - before
        del work
        kept = process.memory_info().rss - before
        release_free_memory()
        left = process.memory_info().rss - before
    finally:
        gc.enable()
    assert kept > taken * 0.9
    assert left < taken * 0.2
