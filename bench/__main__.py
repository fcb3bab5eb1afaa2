"""`python -m bench [NAME ...] [--rounds N] [--quick]`: measure, print a table, write bench/results/<name>.json."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from bench import catch_up, consumer, hr_import, journey, measure, memory, relay, relay_steady, servers
from deploy.embedded.process import StartFailedError
from shared.runtime.memory import tune_garbage_collector

BENCHES = {
    "relay": relay.run, "relay_steady": relay_steady.run, "consumer": consumer.run,
    "catch_up": catch_up.run, "journey": journey.run, "hr_import": hr_import.run, "memory": memory.run,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, all when none is named. 0 unless servers are missing; a missed goal is shown."""
    chosen = _parser().parse_args(arguments)
    options = measure.Options(rounds=chosen.rounds, scale=0.005) if chosen.quick else measure.Options(chosen.rounds)
    for name in [name for name in os.environ if name.startswith("MEDLED_") and name != "MEDLED_CACHE"]:
        del os.environ[name]  # measured with the defaults that ship
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("warning"))
    tune_garbage_collector()  # as in a worker; every side is measured in this process
    results = []
    try:
        for name in chosen.name or BENCHES:
            print(f"{name}:", flush=True)
            with servers.running() as running:
                results.append(BENCHES[name](running, options))
            measure.write(results[-1], chosen.results)
    except StartFailedError as missing:
        print(f"cannot measure: {missing}", file=sys.stderr)
        return 1
    print(measure.table(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Every speed claim beside its bare limit.")
    parser.add_argument("name", nargs="*", choices=[*BENCHES, []], help="which ones; all when none is named")
    parser.add_argument("--rounds", type=int, default=5, help="how often to take ours, peers and limit in turn")
    parser.add_argument("--quick", action="store_true", help="tiny volumes, to see that it runs")
    parser.add_argument("--results", type=Path, default=measure.RESULTS, help="where the JSON goes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
