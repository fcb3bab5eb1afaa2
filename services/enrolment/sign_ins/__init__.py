"""Which account signs in as whom: bound once, at the first sign-in, and moved by nobody but an operator (ADR 0007)."""
