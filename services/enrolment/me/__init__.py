"""The co-leader's own pages."""
