"""Freeze the events' schemas: `python -m shared.events.contract.release 0.1.0`. What is released never changes."""

import argparse
import re
import shutil
import sys
from pathlib import Path

from shared.events.contract.generate import outdated
from shared.events.contract.schema import FOLDER, RELEASED


class ReleaseError(ValueError):
    """These schemas cannot be released; the message says why."""


def release(version: str) -> Path:
    """Copy the current schemas to `released/<version>/` and return that folder. Raises ReleaseError."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ReleaseError(f"{version!r} is not a version like 0.1.0")
    if changed := outdated():
        raise ReleaseError(f"run python -m shared.events.contract.generate first; out of date: {', '.join(changed)}")
    target = RELEASED / version
    if target.exists():
        raise ReleaseError(f"{version} is released already")
    target.mkdir(parents=True)
    for path in sorted(FOLDER.glob("*.json")):
        shutil.copy(path, target)
    return target


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m shared.events.release", description=__doc__)
    parser.add_argument("version", help="the version that is being released, such as 0.1.0")
    try:
        target = release(parser.parse_args().version)
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"released: {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
