"""People, programmes, cohorts and enrolments: who takes part in what, and how far they have come."""
