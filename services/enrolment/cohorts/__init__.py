"""Cohorts: one run of a programme version each, with capacity and dates."""
