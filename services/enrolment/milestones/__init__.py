"""Milestones: the steps of an enrolment, reached in any order."""
