"""The places of a cohort: how many, and what becomes of who has none when it closes."""
