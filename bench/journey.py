"""`journey`: from an HTTP request to its effect in two other services, beside an idiomatic peer and bare drivers.

Three loads: a low one, the same for everybody; half of what each gets done itself; and as much as it gets done. The
moment of an effect is its transaction's commit timestamp in Postgres, so that nothing has to watch for it meanwhile.
"""

import statistics
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import Any

import uvloop

from bench import servers as real_servers
from bench.journey_sides import Bare, House, Side, Trial
from bench.measure import Options, Result, in_turn, median_ratio
from bench.organisation import found
from bench.servers import Servers
from deploy.embedded.process import free_port
from deploy.local import Options as StackOptions
from deploy.local import running
from deploy.stack import Stack

WARM, REQUESTS, FLAT_OUT = 1500, 300, 300
LOW = 39.0  # requests a second
GOAL = 1 / 4  # of the bare drivers' p50
PEER = "faststream_outbox"

Figures = dict[str, float]


def run(servers: Servers, options: Options) -> Result:
    """Latencies in milliseconds, request sent to the later of both effects committed; the ratio is bare / ours."""
    stacked = StackOptions(
        data=servers.directory / "stack", port=free_port(), broker=servers.kafka.bootstrap,
        database=servers.postgres.dsn(),
    )  # fmt: skip
    # What stands idle beside whoever is measured is billed to nobody.
    with running(stacked, lambda _: None) as (stack, _), real_servers.running() as others:
        return uvloop.run(_run(servers, others, stack, options))


async def _run(servers: Servers, others: Servers, stack: Stack, options: Options) -> Result:
    async with AsyncExitStack() as cleanup:
        sides: dict[str, Side] = {"ours": House(servers, stack, await found(stack)), "bare": Bare(others)}
        if has_peer := find_spec(PEER) is not None:
            from bench.journey_peer_side import Peer

            sides["peer"] = Peer(others)
        for side in sides.values():
            await cleanup.enter_async_context(side)
            await side.flat_out(options.size(WARM))
        taken: dict[str, list[Figures]] = {name: [] for name in sides}

        def measured(name: str) -> Any:
            async def measure() -> float:
                figures = await _measure(sides[name], options)
                print(
                    f"  {name}: " + ", ".join(f"{what} {value:,.1f}" for what, value in _short(figures).items()),
                    flush=True,
                )
                taken[name].append(figures)
                return figures["p50 at half"]

            return measure

        rounds = await in_turn({name: measured(name) for name in sides}, options)
    counted = {name: figures[1:] for name, figures in taken.items()}  # the first only warmed
    for nth, each in enumerate(rounds):
        each |= {f"{name} {what}": value for name in sides for what, value in counted[name][nth].items()}
    return _result(rounds, {name: _middle(figures) for name, figures in counted.items()}, has_peer=has_peer)


async def _measure(side: Side, options: Options) -> Figures:
    capacity = await side.flat_out(options.size(FLAT_OUT))
    low = await side.at_rate(LOW, options.size(REQUESTS))
    half = await side.at_rate(max(2.0, capacity / 2), options.size(REQUESTS))
    return {"capacity": capacity, **_told("low", low), **_told("half", half)}


def _told(load: str, trial: Trial) -> Figures:
    return {
        f"p50 at {load}": trial.quantile(50), f"p99 at {load}": trial.quantile(99), f"cpu at {load}": trial.cpu,
        **{f"cpu at {load}, {name}": spent for name, spent in trial.cost.items()},
    }  # fmt: skip


def _middle(figures: list[Figures]) -> Figures:
    return {what: statistics.median(each[what] for each in figures) for what in figures[0]}


def _result(rounds: list[Figures], middle: Mapping[str, Figures], *, has_peer: bool) -> Result:
    peers: dict[str, Any] = {"faststream-outbox": "not measured: it is not installed"}
    if has_peer:
        # As rates: above 1 we are ahead.
        ahead = {what: median_ratio(rounds, *_in_favour(what)) for what in middle["ours"] if ", " not in what}
        peers = {"faststream-outbox": _short(middle["peer"]), "ahead of it by": ahead}
    return Result(
        name="journey", unit="ms (p50 at half)", goal=GOAL, ours=middle["ours"]["p50 at half"],
        limit=middle["bare"]["p50 at half"], ratio=median_ratio(rounds, "bare p50 at half", "ours p50 at half"),
        rounds=rounds, peers=peers,
        details={"ours": _short(middle["ours"]), "bare": _short(middle["bare"]), "low": f"{LOW:.0f} requests a second",
                 "cpu": "milliseconds a request: every process, its broker and its Postgres",
                 "of which at the low rate": {name: _by_process(figures) for name, figures in middle.items()}},
    )  # fmt: skip


def _in_favour(what: str) -> tuple[str, str]:
    return (f"ours {what}", f"peer {what}") if what == "capacity" else (f"peer {what}", f"ours {what}")


def _by_process(figures: Figures) -> Figures:
    return {
        what.removeprefix("cpu at low, "): value
        for what, value in figures.items()
        if what.startswith("cpu at low, ") and value > 0
    }


def _short(figures: Figures) -> Figures:
    return {what: value for what, value in figures.items() if ", " not in what}
