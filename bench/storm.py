"""`python -m bench.storm [--rounds N] [--only WORD]`, `make storm`: every fault, again and again, counted.

The faults are those that `make test` plays once (tests/faults/scenarios.py). Ends with status 1 unless nothing was
lost and nothing doubled, in any round.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from deploy.embedded.kafka import KafkaBroker
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import StartFailedError
from tests.faults.scenarios import FAULTS, Outcome, Scenario
from tests.faults.stage import stage
from tests.support.databases import Databases

COLUMNS = ("rounds", "events", "lost", "doubled", "unsettled", "foreign", "dead letters", "sent again", "failed")


@dataclass
class Tally:
    """What one fault came to, over all rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a round that was played to its end."""
        report = outcome.report
        self.counts.update(
            {
                "events": report.published, "lost": report.lost, "doubled": report.doubled,
                "dead letters": outcome.dead, "sent again": outcome.repeated, "unsettled": bool(report.under_way),
                "foreign": report.foreign, "unsound": not outcome.sound,
            }
        )  # fmt: skip
        self.seen.update(outcome.seen)
        self.complaints += report.under_way

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing doubled, nothing foreign but what was forged, every round played to its end."""
        return not any(self.counts[name] for name in ("lost", "doubled", "unsettled", "unsound", "failed"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the storm and print what it came to."""
    chosen = _parser().parse_args(arguments)
    faults = {name: play for name, play in FAULTS.items() if chosen.only.lower() in name.lower()}
    if not faults:
        print(f"no fault's name contains {chosen.only!r}", file=sys.stderr)
        return 2
    for name in [name for name in os.environ if name.startswith("MEDLED_") and name != "MEDLED_CACHE"]:
        del os.environ[name]
    tallies = {name: Tally() for name in faults}
    started = time.monotonic()
    try:
        _storm(faults, tallies, chosen.rounds)
    except StartFailedError as missing:
        print(f"no storm: {missing}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped early", file=sys.stderr)
    _print_table(tallies, time.monotonic() - started)
    return 0 if all(tally.clean for tally in tallies.values()) else 1


def _storm(faults: Mapping[str, Scenario], tallies: Mapping[str, Tally], rounds: int) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="medled-storm-", ignore_cleanup_errors=True) as made,
        ExitStack() as running,
    ):
        scratch = Path(made)
        scratch.chmod(0o755)  # as root, Postgres runs as nobody and has to reach its data
        kafka, databases = _start(scratch, running)
        for number in range(1, rounds + 1):
            for nth, (name, play) in enumerate(faults.items()):
                directory = scratch / f"round-{number}" / str(nth)
                asyncio.run(_play(play, tallies[name], kafka, databases, directory))
                print(f"round {number}/{rounds}: {name}: {_short(tallies[name])}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.storm", description="Every fault, again and again, counted.")
    rounds = int(os.environ.get("ROUNDS") or 10)
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each: 10, or what ROUNDS says")
    parser.add_argument("--only", default="", metavar="WORD", help="only faults whose name contains this")
    return parser


def _start(scratch: Path, running: ExitStack) -> tuple[KafkaBroker, Databases]:
    postgres = EmbeddedPostgres(scratch / "postgres")
    running.callback(postgres.child.kill)
    postgres.start()
    kafka = KafkaBroker(scratch / "kafka")
    running.callback(kafka.child.kill)
    kafka.start()
    return kafka, Databases(postgres)


async def _play(play: Scenario, tally: Tally, kafka: KafkaBroker, databases: Databases, directory: Path) -> None:
    tally.counts["rounds"] += 1
    try:
        async with stage(kafka, databases, directory) as ground:
            tally.add(await play(ground))
    except Exception as error:  # noqa: BLE001 - a round that fails is counted and told; the storm goes on
        tally.counts["failed"] += 1
        tally.complaints.append(f"{type(error).__name__}: {error}")
        await asyncio.to_thread(_recover, kafka, databases)


def _recover(kafka: KafkaBroker, databases: Databases) -> None:
    kafka.start()
    databases.server.start()


def _short(tally: Tally) -> str:
    seen = [f"{number:,} {what}" for what, number in sorted(tally.seen.items())]
    return ", ".join([f"{tally.counts[name]:,} {name}" for name in COLUMNS[1:4]] + seen + tally.complaints[-1:])


def _print_table(tallies: Mapping[str, Tally], seconds: float) -> None:
    width = max(len(name) for name in tallies)
    print(f"\n{'fault':{width}}  " + "  ".join(f"{name:>12}" for name in COLUMNS))
    for name, tally in tallies.items():
        print(f"{name:{width}}  " + "  ".join(f"{tally.counts[column]:>12,}" for column in COLUMNS))
    total = sum((tally.counts for tally in tallies.values()), Counter[str]())
    print(f"{'all':{width}}  " + "  ".join(f"{total[column]:>12,}" for column in COLUMNS))
    for name, tally in tallies.items():
        for complaint in tally.complaints:
            print(f"! {name}: {complaint}")
    verdict = "nothing lost, nothing doubled" if all(tally.clean for tally in tallies.values()) else "NOT clean"
    print(f"\n{verdict}, in {seconds / 60:.1f} minutes.")


if __name__ == "__main__":
    sys.exit(main())
