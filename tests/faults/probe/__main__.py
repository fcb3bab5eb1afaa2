"""`python -m tests.faults.probe worker`: a real worker process on the real kernel, to be killed, frozen and doubted.

PROBE_SERVICE is `enrolment`, which only publishes, or `notifications`, which consumes and tells; PROBE_VARIANT names
one of the variants; PROBE_HASTE shortens the kernel's patience with the dead, so that a test need not wait as long as a
deployment does.
"""

import os

from deploy.services import find_service
from shared.messaging import epoch, relay, subscription
from shared.postgres.pool import Pool
from shared.runtime.declaration import DeclaredService
from shared.runtime.main import main
from shared.runtime.worker import Worker
from shared.settings import Settings
from tests.faults.probe.handlers import LATER, handlers
from tests.faults.probe.variants import VARIANTS

SERVICE = os.environ["PROBE_SERVICE"]


class Probe(DeclaredService[Settings]):
    def create_worker(self, settings: Settings, pool: Pool) -> Worker:
        if os.environ.get("PROBE_HASTE"):
            relay.HEARTBEAT_SECONDS, relay.STALE_SECONDS = 0.5, 2.5
            epoch.CHECK_SECONDS = 1.0
            subscription.SESSION_MILLISECONDS = 3000
        worker = super().create_worker(settings, pool)
        if variant := os.environ.get("PROBE_VARIANT"):
            VARIANTS[variant](worker)
        return worker


if __name__ == "__main__":
    real = find_service(SERVICE)
    main(
        Probe(
            name=SERVICE, folder=real.folder, stands_on=real.stands_on, settings=Settings, api=real.api,
            handlers=handlers(later=os.environ.get("PROBE_HANDLERS") == LATER) if SERVICE == "notifications" else [],
        )
    )  # fmt: skip
