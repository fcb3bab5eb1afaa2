"""Notifications: who is told what, in which language, and what became of every message."""
