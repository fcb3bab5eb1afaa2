"""The one origin: dashboards and the open stream, from the public event streams only."""
