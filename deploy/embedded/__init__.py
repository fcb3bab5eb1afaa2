"""Real servers as child processes for the embedded stack, tests, bench and storm: none outlives its parent."""
