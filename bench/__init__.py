"""Every speed claim, runnable: `python -m bench [NAME ...]` or `make bench`. What came out: docs/performance.md."""
