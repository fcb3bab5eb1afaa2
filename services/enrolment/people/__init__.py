"""People and units: they arrive from the HR platform and are announced to everybody else."""
