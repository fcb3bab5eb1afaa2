"""Reports: the figures that a round's ballots come to, and what of them may be shown."""
