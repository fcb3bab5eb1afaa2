"""People and units as the organisation has them now, and the events that tell everybody else."""
