"""The open stream: every public event in one order, resumable from any position."""
