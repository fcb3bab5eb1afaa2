"""Skipping is a failure where everything a test needs is promised to be there (CI)."""

import os
from typing import NoReturn

import pytest


def skip(reason: str) -> NoReturn:
    """Skip the test and say why; fail it when MEDLED_NO_SKIP is set."""
    if os.environ.get("MEDLED_NO_SKIP"):
        pytest.fail(f"MEDLED_NO_SKIP is set, and this was about to be skipped: {reason}")
    pytest.skip(reason)
