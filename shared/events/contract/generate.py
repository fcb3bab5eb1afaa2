"""Write the events' schemas: `python -m shared.events.contract.generate`; `--check` tells whether they are true."""

import argparse
import sys

from shared.events.contract.schema import FOLDER, published_schemas


def outdated() -> list[str]:
    """Names of schema files that are missing, differ from the code, or belong to no event any more."""
    wanted = published_schemas()
    present = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def write() -> list[str]:
    """Bring the files in line with the code; returns the names of those that changed."""
    changed = outdated()
    wanted = published_schemas()
    FOLDER.mkdir(exist_ok=True)
    for name in changed:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name], encoding="utf-8")
        else:
            (FOLDER / name).unlink()
    return changed


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m shared.events.contract.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is out of date")
    if parser.parse_args().check:
        changed = outdated()
        sys.stdout.writelines(f"out of date: {name}\n" for name in changed)
        return 1 if changed else 0
    sys.stdout.writelines(f"written: {name}\n" for name in write())
    return 0


if __name__ == "__main__":
    sys.exit(main())
