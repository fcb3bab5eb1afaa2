"""Answers are sealed here, and opened once (ADR 0004)."""
