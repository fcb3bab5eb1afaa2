"""Events out and in: outbox and relay, subscription and consumer, inbox and dead letters."""
