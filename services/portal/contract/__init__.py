"""The event streams' contract, as it is served."""
