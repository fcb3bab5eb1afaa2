"""Approvals: what waits for the manager's word, as pages."""
