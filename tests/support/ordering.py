"""The order of test files: long ones early and apart, so that none is left over at the end and few meet."""

from collections.abc import Sequence

LONG = ("tests/e2e/", "tests/faults/", "tests/bench/")  # minutes each, and many processes


def long_ones_early(files: Sequence[str]) -> list[str]:
    """The same files, otherwise in the same order: those that take minutes spread over the first half."""
    long, others = [[file for file in files if file.startswith(LONG) is is_long] for is_long in (True, False)]
    apart = len(others) // (2 * len(long)) if long else 0
    ordered: list[str] = []
    for nth, file in enumerate(long):
        ordered += [file, *others[nth * apart : (nth + 1) * apart]]
    return ordered + others[len(long) * apart :]
