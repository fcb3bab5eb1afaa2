"""Does every event arrive once? What `medled verify` asks, and what the fault tests end with (DESIGN rule 9).

`verify` waits until nothing is under way, then lays three accounts side by side: what the producers' outboxes say was
published, what lies on Kafka, and what the consumers' inboxes and effect tables say became of it.
"""

from deploy.verify.report import Fact, Report, Subscription
from deploy.verify.subscriptions import declared_handlers, declared_timers
from deploy.verify.verify import CannotVerify, verify

__all__ = ["CannotVerify", "Fact", "Report", "Subscription", "declared_handlers", "declared_timers", "verify"]
