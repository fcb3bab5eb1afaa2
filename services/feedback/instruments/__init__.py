"""The questions, by version."""
