"""Does every event arrive once? What `medled verify` asks, and what the fault tests end with.

`verify` waits until nothing is under way, then lays three accounts side by side, topic by topic: what the producers'
outboxes say was published, what lies on Kafka, and what the consumers' inboxes and effect tables say became of it. Then
it compares the services' copies of people, units, access and sign-ins with their owner's.
"""

from deploy.verify.report import Copy, Fact, Foreign, Report, Subscription, Verdict
from deploy.verify.session import CannotVerifyError
from deploy.verify.verify import Listener, verify

__all__ = [
    "CannotVerifyError",
    "Copy",
    "Fact",
    "Foreign",
    "Listener",
    "Report",
    "Subscription",
    "Verdict",
    "verify",
]
