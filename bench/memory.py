"""`memory`: what each process takes while an organisation of 260,000 people comes in, and what it keeps afterwards.

The whole house on Apache Kafka; a file goes to the import API, and everything that it causes through relay, broker and
every worker. Then the next export, which says something new of one person in a hundred: memory that grows with what has
been shows in it.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil
import uvloop

from bench import people_file
from bench.measure import Options, Result
from bench.servers import Servers
from deploy.embedded.process import free_port
from deploy.hr_import import send_and_follow
from deploy.local import Options as StackOptions
from deploy.local import running
from deploy.services import SERVICES
from deploy.stack import Stack

PEOPLE, CHANGED = 259_141, 0.01
MOST = 300.0  # MB of any process
_SETTLED_SECONDS = 1200.0
_MEGABYTE = 1024  # kB

Megabytes = Mapping[str, float]


def run(servers: Servers, options: Options) -> Result:
    """Megabytes of resident memory at the peak of the process that took most; the ratio is the bound / ours.

    One round, whatever is asked for: it takes minutes, and memory scatters little.
    """
    stacked = StackOptions(
        data=servers.directory / "stack", port=free_port(), broker=servers.kafka.bootstrap,
        database=servers.postgres.dsn(),
    )  # fmt: skip
    with running(stacked, lambda _: None) as (stack, _):
        return uvloop.run(_run(stack, options))


async def _run(stack: Stack, options: Options) -> Result:
    people = options.size(PEOPLE)
    at_first = _resident(stack)
    first = await _import(stack, people, changed=0.0)
    peak, kept = _peak(stack), _resident(stack)
    print(f"  imported in {first:.0f} s", flush=True)
    _forget_peaks(stack)
    second = await _import(stack, people, changed=CHANGED)
    next_peak, next_kept = _peak(stack), _resident(stack)
    print(f"  the next export in {second:.0f} s", flush=True)
    most = max(*peak.values(), *next_peak.values())
    return Result(
        name="memory", unit="MB at the peak", goal=1.0, ours=most, limit=MOST, ratio=MOST / most,
        rounds=[{"most": most, "seconds": first, "next_seconds": second}],
        details={
            name: {
                "before": at_first[name], "peak": peak[name], "after": kept[name],
                "next peak": next_peak[name], "after the next": next_kept[name],
            }
            for name in peak
        } | {"people": people},
    )  # fmt: skip


async def _import(stack: Stack, people: int, *, changed: float) -> float:
    """Send an export and wait until everybody has heard of everybody; the seconds that took."""
    file = stack.data / "people.csv"
    await asyncio.to_thread(people_file.write, file, people, changed=changed)
    began = time.perf_counter()
    ended = await send_and_follow(file, {}, stack.data)
    if ended["status"] != "done":
        raise RuntimeError(f"the import ended as {ended['status']}: {ended['report']}")
    async with asyncio.timeout(_SETTLED_SECONDS), httpx.AsyncClient(trust_env=False, timeout=30) as client:
        while not all([await _is_at_rest(client, stack, service) for service in SERVICES]):
            await asyncio.sleep(1)
    return time.perf_counter() - began


async def _is_at_rest(client: httpx.AsyncClient, stack: Stack, service: str) -> bool:
    told = (await client.get(f"http://127.0.0.1:{stack.ports[service].worker}/health/ready")).json()
    backlog = told["database"]["outbox"] or {}  # not told while the database is too busy to answer
    return backlog.get("waiting") == 0 and told["consumer"]["lag"] == 0


def _processes(stack: Stack) -> dict[str, int]:
    """Those of Medled, by name; nobody has been started anew under another id."""
    names = [f"{service}-{role}" for service in SERVICES for role in ("api", "worker")]
    return {name: stack.pids[name] for name in names}


def _resident(stack: Stack) -> Megabytes:
    return {name: psutil.Process(pid).memory_info().rss / 1024**2 for name, pid in _processes(stack).items()}


def _peak(stack: Stack) -> Megabytes:
    return {name: _high_water(pid) for name, pid in _processes(stack).items()}


def _high_water(pid: int) -> float:
    """Not `ru_maxrss`, which a process takes over from the one that started it."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / _MEGABYTE


def _forget_peaks(stack: Stack) -> None:
    for pid in _processes(stack).values():
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
