"""Enrolments: one person in one cohort, from the request to the last milestone."""
