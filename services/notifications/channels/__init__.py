"""From a queued message to a delivered one: mail today; the delivery log."""
