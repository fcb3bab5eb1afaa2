"""`python -m tests.faults.probe worker`: a real worker process on the real kernel, to be killed, frozen and doubted.

PROBE_SERVICE is `enrolment`, which only publishes, or `notifications`, which consumes and tells; PROBE_VARIANT names
one of the variants; PROBE_HASTE shortens the kernel's patience with the dead, so that a test need not wait as long as a
deployment does.
"""

import os

from fastapi import FastAPI

from shared.messaging import epoch, relay, subscription
from shared.postgres.pool import Pool
from shared.runtime import main
from shared.runtime.worker import Worker
from shared.settings import Settings
from tests.faults.probe.handlers import handlers
from tests.faults.probe.variants import VARIANTS

SERVICE = os.environ["PROBE_SERVICE"]


def create_worker(settings: Settings, pool: Pool) -> Worker:
    if os.environ.get("PROBE_HASTE"):
        relay.BEAT_SECONDS, relay.STALE_SECONDS = 0.5, 2.5
        epoch.CHECK_SECONDS = 1.0
        subscription.SESSION_MILLISECONDS = 3000
    consumes = SERVICE == "notifications"
    worker = Worker(settings, pool, service=SERVICE, handlers=handlers() if consumes else [], timers={})
    if variant := os.environ.get("PROBE_VARIANT"):
        VARIANTS[variant](worker)
    return worker


def create_api(settings: Settings) -> FastAPI:
    raise SystemExit("the probe has no API")


if __name__ == "__main__":
    main.main(SERVICE, Settings, create_api, create_worker)
