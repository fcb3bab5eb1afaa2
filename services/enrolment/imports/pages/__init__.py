"""Pages of whoever imports people."""
