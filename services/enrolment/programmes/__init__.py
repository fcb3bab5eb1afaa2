"""Programmes: versioned plans of milestones and the practices they train."""
